"""previewd beside the naive pipeline, in one run. Started by scripts/bench, which sees to it that everything is there.

1. make the reference app  2. per case: prepare both sides, run them in turn  3. print the table, write the JSON  4. clean up
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import report
import serving
from cases import CASES, Bench, Case, make_app
from measure import Result, interleave
from processes import BenchError, say

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS = 5
RUNS_COLD = 2
RUNS_QUICK = 2


def arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {case.key:13} {case.title}" for case in CASES)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures previewd beside the naive pipeline.",
        epilog=f"cases:\n{listed}\n\n`scripts/bench serving` measures how fast previews are served, beside nginx; it has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, metavar="N", help=f"measurements per side and case (default {RUNS}, cold store {RUNS_COLD})")
    parser.add_argument("--only", action="append", choices=[case.key for case in CASES], metavar="CASE", help="this case; may be repeated")
    parser.add_argument("--quick", action="store_true", help=f"{RUNS_QUICK} measurements, none of the cold store")
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/release/previewd", help="the previewd to measure")
    parser.add_argument("--tools", type=Path, default=REPOSITORY / "target/tools", help="where Azurite is installed")
    args = parser.parse_args()
    if args.runs is not None and args.runs < 1:
        parser.error("--runs: at least 1")
    return args


def chosen(args: argparse.Namespace) -> list[Case]:
    return [case for case in CASES if (case.key in args.only if args.only else not (args.quick and case.cold))]


def runs_of(case: Case, args: argparse.Namespace) -> int:
    return args.runs or (RUNS_QUICK if args.quick else RUNS_COLD if case.cold else RUNS)


def measure(case: Case, bench: Bench, runs: int) -> Result:
    load = os.getloadavg()[0]
    say(f"{case.key}: {case.title} (load {load:.1f})")
    with case.open(bench) as pair:
        ours, theirs = interleave(pair, runs, warm_up=not case.cold, progress=say)
    return Result(case.key, case.title, case.measures, case.naive_is, ours, theirs, load)


def main() -> int:
    args = arguments()
    folder = REPOSITORY / "target/bench"
    folder.mkdir(parents=True, exist_ok=True)
    machine = report.machine(REPOSITORY)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    try:
        bench = Bench(args.binary.absolute(), args.tools.absolute(), home, make_app(REPOSITORY, home / "app"))
        results = [measure(case, bench, runs_of(case, args)) for case in chosen(args)]
    except BenchError as error:
        say(f"error: {error}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(report.markdown(results, machine))
    report.write_json(folder / "latest.json", results, machine)
    return 0


if __name__ == "__main__":
    # Ended from outside, it still ends its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(serving.main(sys.argv[2:]) if sys.argv[1:2] == ["serving"] else main())
