"""Serving speed: previewd alone, previewd behind nginx, and nginx alone, on one release, in one run.

1. publish a site  2. start both nginx  3. check that all three answer alike  4. measure in turn, round by round  5. table and JSON
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import report
from daemon import Daemon
from front import PREVIEW_DOMAIN, before_previewd, plain
from processes import BenchError, clean_env, cpu_ms, run, say

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = 7
SECONDS = 3
CONNECTIONS = 16
PROJECT = "serving"
HTML_BYTES = 1500
ASSET_BYTES = 200_000
ASSET = "/assets/app-Bx12Yz_9.js"
# wrk's own report rounds; this one is for machines. Latencies arrive in microseconds.
REPORT = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT {\\"requests\\": %d, \\"rps\\": %f, \\"p50_us\\": %f, \\"p95_us\\": %f, \\"errors\\": %d}\\n",
    summary.requests, summary.requests / summary.duration * 1000000, latency:percentile(50), latency:percentile(95),
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass
class Case:
    key: str
    title: str
    path: str
    headers: dict[str, str]
    encoding: str = ""
    # Sends back what the first answer said: 304.
    conditional: bool = False


CASES = [
    Case("html", f"page, {HTML_BYTES / 1000:.1f} kB", "/", {}),
    Case("html-304", "page, 304", "/", {}, conditional=True),
    Case("asset", f"hashed script, {ASSET_BYTES // 1000} kB", ASSET, {}),
    Case("asset-br", "the same, as its .br copy", ASSET, {"Accept-Encoding": "gzip, deflate, br"}, encoding="br"),
    Case("asset-gz", "the same, as its .gz copy", ASSET, {"Accept-Encoding": "gzip"}, encoding="gzip"),
    Case("asset-304", "the same, 304", ASSET, {}, conditional=True),
]

SIDES = ("previewd", "behind nginx", "nginx alone")


@dataclass
class Figures:
    """One side of a case, a value for each round."""

    rps: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p95_us: list[float] = field(default_factory=list)
    # Of the servers, for one request: what other work on the machine changes least.
    cpu_us: list[float] = field(default_factory=list)

    def add(self, told: dict, cpu_us: float) -> None:
        self.cpu_us.append(cpu_us / told["requests"])
        self.rps.append(told["rps"])
        self.p50_us.append(told["p50_us"])
        self.p95_us.append(told["p95_us"])


def make_site(folder: Path) -> None:
    """A page and a script whose copies are about as much smaller as those of real ones."""
    rng = random.Random(1)
    words = ["".join(rng.choices(string.ascii_letters, k=rng.randint(3, 9))) for _ in range(3000)]
    text = ""
    while len(text) < ASSET_BYTES:
        text += f"const {rng.choice(words)}=({rng.choice(words)},{rng.choice(words)})=>{rng.randint(0, 9999)};"
    script = folder / ASSET.lstrip("/")
    script.parent.mkdir(parents=True)
    script.write_text(text[:ASSET_BYTES])
    page = f'<!doctype html><html><head><title>Serving</title><link rel="preload" as="script" href="{ASSET}"></head><body>\n'
    (folder / "index.html").write_text(page + "<p>x</p>\n" * ((HTML_BYTES - len(page)) // 9))


def ask(address: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    with contextlib.closing(http.client.HTTPConnection(address, timeout=10)) as connection:
        connection.request("GET", path, headers={"Host": f"{PROJECT}.{PREVIEW_DOMAIN}"} | headers)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def headers_of(case: Case, address: str) -> dict[str, str]:
    """The request of a case, checked: figures of another answer would be worth nothing."""
    status, told, body = ask(address, case.path, case.headers)
    size = HTML_BYTES if case.path == "/" else ASSET_BYTES
    if (status, told.get("content-encoding", "")) != (200, case.encoding) or (not case.encoding and not size * 0.9 < len(body) <= size):
        raise BenchError(f"{address}{case.path}: {status} {told} {len(body)} bytes")
    if not case.conditional:
        return case.headers
    headers = case.headers | {"If-None-Match": told["etag"]}
    if ask(address, case.path, headers)[0] != 304:
        raise BenchError(f"{address}{case.path} is not answered 304")
    return headers


def load(script: Path, seconds: int, address: str, path: str, headers: dict[str, str]) -> dict:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), "-H", f"Host: {PROJECT}.{PREVIEW_DOMAIN}"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    output = run([*command, f"http://{address}{path}"], script.parent, clean_env())
    told = json.loads(next(line for line in output.splitlines() if line.startswith("RESULT "))[7:])
    if told["errors"] or "Non-2xx" in output:
        raise BenchError(f"wrk met errors at {address}{path}:\n{output}")
    return told


def measure(home: Path, binary: Path, rounds: int, seconds: int, cases: list[Case]) -> dict[str, dict[str, Figures]]:
    script = home / "report.lua"
    script.write_text(REPORT)
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon(binary, home / "previewd"))
        make_site(daemon.source(PROJECT))
        daemon.sync(PROJECT, wait_ms=60_000)
        daemon.wait_built(PROJECT)
        front = stack.enter_context(before_previewd(home / "front", REPOSITORY, daemon.data, daemon.address))
        alone = stack.enter_context(plain(home / "plain", daemon.live(PROJECT)))
        addresses = dict(zip(SIDES, (daemon.address, front.address, alone.address), strict=True))
        own = [daemon.process.pid]
        processes = dict(zip(SIDES, (own, own + front.workers(), alone.workers()), strict=True))
        results = {case.key: {side: Figures() for side in SIDES} for case in cases}
        requests = {(case.key, side): headers_of(case, addresses[side]) for case in cases for side in SIDES}
        # The first round warms up and is not counted.
        for number in range(-1, rounds):
            for case in cases:
                for side in SIDES:
                    before = sum(map(cpu_ms, processes[side]))
                    told = load(script, seconds if number >= 0 else 1, addresses[side], case.path, requests[case.key, side])
                    if number >= 0:
                        results[case.key][side].add(told, 1000 * (sum(map(cpu_ms, processes[side])) - before))
            say(f"  round {number + 1 if number >= 0 else 'to warm up'}: done")
        return results


def markdown(results: dict[str, dict[str, Figures]], machine: dict, rounds: int, seconds: int) -> str:
    lines = [
        f"Serving: previewd {machine['commit']} on {machine['cores']} cores, {machine['date']} (load {machine['load']:.1f} at the start); "
        f"wrk with {CONNECTIONS} connections, {rounds} rounds of {seconds} s, the sides in turn",
        "",
        "| case | side | requests/s median | p5 | latency p50 µs | p95 µs | CPU µs a request | of nginx alone |",
        "| --- | --- | --: | --: | --: | --: | --: | --: |",
    ]
    for case in CASES:
        for side, figures in results.get(case.key, {}).items():
            cells = [case.title, side, f"{statistics.median(figures.rps):,.0f}", f"{worst(figures.rps, min):,.0f}"]
            cells += [f"{statistics.median(figures.p50_us):,.0f}", f"{statistics.median(figures.p95_us):,.0f}"]
            cells += [f"{statistics.median(figures.cpu_us):.1f}", f"{ratio(results, case.key, side):.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "p5: of requests/s per round, by nearest rank, so with few rounds the slowest. The ratio is of "
        "requests/s, the median of the rounds' own ratios. wrk shares the cores; on a busy machine CPU (of the servers) compares better."]
    return "\n".join(lines)


def worst(values: list[float], pick: Callable[[list[float]], float]) -> float:
    """With fewer than 20 rounds, the slowest is the 95th of 100."""
    return pick(sorted(values)[: max(1, len(values) // 20)])


def ratio(results: dict[str, dict[str, Figures]], case: str, side: str) -> float:
    """Round by round: what else the machine did then fell on both."""
    pairs = zip(results[case][side].rps, results[case]["nginx alone"].rps, strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def write_json(path: Path, results: dict[str, dict[str, Figures]], machine: dict) -> None:
    cases = {
        key: {side: {"of_nginx_alone": round(ratio(results, key, side), 3), **vars(figures)} for side, figures in sides.items()}
        for key, sides in results.items()
    }
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({"machine": machine, "cases": cases}, indent=1) + "\n")
    aside.replace(path)


def versions(machine: dict) -> dict:
    told = subprocess.run(["/usr/sbin/nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    return machine | {"nginx": told, "load": os.getloadavg()[0]}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench serving", description="Measures how fast previews are served: previewd, previewd behind nginx, nginx.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each measurement")
    parser.add_argument("--only", action="append", choices=[case.key for case in CASES], metavar="CASE")
    parser.add_argument("--binary", type=Path, default=REPOSITORY / "target/release/previewd", help="the previewd to measure")
    args = parser.parse_args(arguments)
    folder = REPOSITORY / "target/bench"
    folder.mkdir(parents=True, exist_ok=True)
    machine = versions(report.machine(REPOSITORY))
    cases = [case for case in CASES if not args.only or case.key in args.only]
    home = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    try:
        results = measure(home, args.binary.absolute(), args.rounds, args.seconds, cases)
    except BenchError as error:
        say(f"error: {error}")
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(markdown(results, machine, args.rounds, args.seconds))
    write_json(folder / "serving.json", results, machine)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
