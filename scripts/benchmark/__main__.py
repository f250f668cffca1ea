"""previewd beside the naive pipeline, in one run. Started by scripts/bench, which sees to it that everything is there.

1. per case and app: prepare both sides, run them in turn  2. print the tables, write the JSON  3. clean up
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import report
import serving
from apps import APPS
from cases import CASES
from cases.common import Bench, Case
from measure import Plan, Result, interleave
from processes import BenchError, end_descendants, say

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS_QUICK = 2
# A case with one app that takes longer than this is given up.
CASE_MAX_S = 900
APP_KEYS = list(dict.fromkeys(app for case in CASES for app in case.apps))


def arguments() -> argparse.Namespace:
    listed = "\n".join(f"  {case.key:20} {case.title} ({', '.join(case.apps)})" for case in CASES)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures previewd beside the naive pipeline.",
        epilog=f"cases (and their apps):\n{listed}\n\n`scripts/bench serving` measures how fast previews are served, beside nginx; it has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, metavar="N", help="measurements per side and case (the default differs from case to case)")
    parser.add_argument("--only", action="append", choices=[case.key for case in CASES], metavar="CASE", help="this case; may be repeated")
    parser.add_argument("--app", action="append", choices=APP_KEYS, metavar="APP", help=f"this app ({', '.join(APP_KEYS)}); may be repeated")
    parser.add_argument("--quick", action="store_true", help=f"{RUNS_QUICK} measurements, fewer projects, none of the cold store; the reference app alone unless --app")
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/release/previewd", help="the previewd to measure")
    parser.add_argument("--tools", type=Path, default=REPOSITORY / "target/tools", help="where Azurite and playwright-core are installed")
    args = parser.parse_args()
    if args.runs is not None and args.runs < 1:
        parser.error("--runs: at least 1")
    return args


def chosen(args: argparse.Namespace) -> Iterator[tuple[Case, str]]:
    for case in CASES:
        if case.key in args.only if args.only else not (args.quick and case.cold):
            # In a quick run each case has one app: its first, which is the reference app wherever it is one of them.
            wanted = args.app or (case.apps[:1] if args.quick else case.apps)
            yield from ((case, app) for app in case.apps if app in wanted)


def plan_of(case: Case, args: argparse.Namespace) -> Plan:
    if not case.runs:
        return Plan(0, 0)
    quick = RUNS_QUICK if args.quick else case.runs
    runs = args.runs or min(case.runs, quick)
    return Plan(min(case.warm_ups, runs), runs, case.every)


def measure(bench: Bench, case: Case, app: str, plan: Plan) -> Result:
    load = os.getloadavg()[0]
    say(f"{case.key}, {app}: {case.title} (load {load:.1f})")
    result = Result(case.key, app, case.title, case.measures, case.beside_is, load, case.at_least.get(app))
    try:
        with at_most(CASE_MAX_S), case.open(bench, APPS.get(app)) as pair:
            interleave(pair, plan, result, say)
    except BenchError as error:
        result.failure = str(error)
    except Exception as error:
        # One case must not take the others' figures with it.
        traceback.print_exc()
        result.failure = repr(error)
    if result.failure:
        say(f"  failed: {result.failure}")
    return result


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def over(*_: object) -> None:
        raise BenchError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    args = arguments()
    folder = REPOSITORY / "target/bench"
    folder.mkdir(parents=True, exist_ok=True)
    machine = report.machine(REPOSITORY)
    home = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    results: list[Result] = []
    try:
        bench = Bench(args.binary.absolute(), args.tools.absolute(), REPOSITORY, home, args.quick)
        for case, app in chosen(args):
            results.append(measure(bench, case, app, plan_of(case, args)))
            # After each, so that a run which is broken off was not for nothing.
            report.write_json(folder / "latest.json", results, machine)
    finally:
        if left := end_descendants():
            say(f"ended what was left running: {left}")
        shutil.rmtree(home, ignore_errors=True)
    print(report.markdown(results, machine))
    return 1 if any(result.failure for result in results) else 0


if __name__ == "__main__":
    # Ended from outside, it still ends its children.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(serving.main(sys.argv[2:]) if sys.argv[1:2] == ["serving"] else main())
