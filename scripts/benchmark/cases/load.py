"""Many edits: of one project back to back or as a stream, of ten projects at once, of thirty in turn."""

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from apps import App
from cases.common import FIRST_TEXT, NAIVE, Bench, Case, Sides, project_of, warm_sides
from daemon import BUILD_MAX_MS, Daemon
from edits import Edits
from measure import Clock, Figure, Pair, Sample, rank95
from naive import Naive
from processes import BenchError, own_children_cpu_ms
from tree import Peaks

BURST = 100
STREAM = 50
STREAM_PAUSE_S = 0.1
AT_ONCE = 10
IN_TURN = 30
POLL_S = 0.005


class Stream:
    """Edits of one project, one webhook each, none of which waits for its build."""

    def __init__(self, sides: Sides, project: str, edits: Edits, count: int, pause_s: float) -> None:
        self.sides, self.project, self.edits, self.count, self.pause_s = sides, project, edits, count, pause_s
        # Of each run: how long it took to send, and the builds that it led to.
        self.seconds: list[float] = []
        self.builds: list[list[dict]] = []

    def run(self) -> Sample:
        """From the last webhook sent until the newest text is in the preview; the phase before is the sending."""
        daemon = self.sides.daemon
        before = daemon.status(self.project)["revision"]
        cpu, begun = daemon.tree.cpu_ms(), Clock()
        for number in range(self.count):
            # By the clock: what a webhook took does not slow the stream.
            time.sleep(max(0, number * self.pause_s - begun.ms() / 1000))
            edit, clock = self.edits.component(), Clock()
            answer = daemon.sync(self.project, **edit.body())
        sent = begun.ms() - clock.ms()
        last = wait_live(daemon, self.project, answer["revision"])
        daemon.find_in_preview(answer["preview_url"], edit.text)
        ms = clock.ms()
        sample = Sample(ms, daemon.settle(cpu), {"sending": sent}, last["mode"], last["worker"])
        self.seconds.append((sent + ms) / 1000)
        self.builds.append(daemon.builds(self.project, before))
        return sample

    def figures(self) -> list[Figure]:
        made = [build["outcome"] for builds in self.builds for build in builds]
        live, runs = made.count("succeeded"), len(self.builds)
        failed = len(made) - live - made.count("superseded") - made.count("cancelled")
        return [
            Figure(f"builds for {self.count} syncs", "", len(made) / runs, self.count),
            Figure("of them published", "", live / runs),
            Figure("published in a second, from the first sync to the last text", "", live / sum(self.seconds)),
            Figure("builds that failed", "", failed, at_most=0),
        ]


def wait_live(daemon: Daemon, project: str, revision: int) -> dict:
    """Waits until this revision is live; its build."""
    deadline = time.monotonic() + BUILD_MAX_MS / 1000
    while time.monotonic() < deadline:
        status = daemon.status(project)
        if (status["live"] or {}).get("revision", 0) >= revision:
            return status["last_build"]
        if status["state"] == "error":
            break
        time.sleep(POLL_S)
    raise BenchError(f"revision {revision} of {project} did not become live: {status['state']}")


def stream_case(key: str, title: str, count: int, pause_s: float) -> Case:
    @contextlib.contextmanager
    def opened(bench: Bench, app: App) -> Iterator[Pair]:
        with warm_sides(bench, app) as sides, project_of(sides, key) as (project, edits):
            stream, theirs = Stream(sides, project, edits, count, pause_s), Edits(app, sides.naive.dir)
            yield Pair(stream.run, lambda: sides.naive.run(theirs.component().text), stream.figures)

    measures = "last webhook sent → the served preview was read and shows the last text"
    return Case(key, title, measures, f"{NAIVE}, once for the last edit alone", opened, apps=("reference",), runs=3, warm_ups=0)


@contextlib.contextmanager
def at_once(bench: Bench, app: App) -> Iterator[Pair]:
    count = bench.count(AT_ONCE, 3)
    with warm_sides(bench, app) as sides, contextlib.ExitStack() as stack:
        ours = [stack.enter_context(project_of(sides, f"once-{number}")) for number in range(count)]
        theirs = [Naive(sides.naive.home, bench.source_of(app), f"{app.key}-once-{number}") for number in range(count)]
        for side in theirs:
            side.run(FIRST_TEXT)
        edited = [Edits(app, side.dir) for side in theirs]
        single: list[float] = []

        def previewd() -> Sample:
            daemon = sides.daemon
            todo = [(project, edits.component()) for project, edits in ours]
            cpu, clock = daemon.tree.cpu_ms(), Clock()
            samples = together(count, [partial(daemon.to_live, project, edit.text, **edit.body()) for project, edit in todo])
            ms = clock.ms()
            single.extend(sample.ms for sample in samples)
            return Sample(ms, daemon.settle(cpu), {}, most([s.mode for s in samples]), most([s.worker for s in samples]))

        def naive() -> Sample:
            texts = [edits.component().text for edits in edited]
            cpu, clock = own_children_cpu_ms(), Clock()
            together(os.cpu_count() or 1, [partial(side.run, text) for side, text in zip(theirs, texts, strict=True)])
            return Sample(clock.ms(), own_children_cpu_ms() - cpu)

        yield Pair(previewd, naive, lambda: [Figure("projects edited at once", "", count), Figure("one project among them, p95", "ms", rank95(single))])


def together(threads: int, calls: list[Callable[[], Sample]]) -> list[Sample]:
    with ThreadPoolExecutor(threads) as pool:
        return [running.result() for running in [pool.submit(call) for call in calls]]


def most(words: list[str]) -> str:
    """What all say, or `mixed`."""
    return words[0] if len(set(words)) == 1 else "mixed"


@contextlib.contextmanager
def in_turn(bench: Bench, app: App) -> Iterator[Pair]:
    """A first round, not measured, gives each project its worker, as far as the pool's memory goes; then each is edited again."""
    count = bench.count(IN_TURN, 3)
    with warm_sides(bench, app) as sides, contextlib.ExitStack() as stack:
        sides.ready_filler()
        ours = []
        for number in range(count):
            project = f"turn-{number}"
            sides.first_live(project)
            stack.callback(sides.daemon.forget, project)
            ours.append((project, sides.edits(project)))
        theirs = Edits(app, sides.naive.dir)
        turns = itertools.cycle(ours)
        sides.daemon.tree.peaks = Peaks()

        def previewd() -> Sample:
            project, edits = next(turns)
            edit = edits.component()
            return sides.daemon.webhook_to_live(project, edit.text, **edit.body())

        for _ in ours:
            previewd()

        def figures() -> list[Figure]:
            outcomes = [build["outcome"] for project, _ in ours for build in sides.daemon.builds(project, 0)]
            peaks = sides.daemon.tree.peaks
            return [
                Figure("projects edited in turn", "", count),
                Figure("builds that did not succeed", "", sum(outcome != "succeeded" for outcome in outcomes), at_most=0),
                Figure("workers at once, at most", "", peaks.workers),
                Figure("RSS of all workers together, highest", "MB", peaks.below),
                Figure("RSS of the daemon, highest", "MB", peaks.own),
            ]

        yield Pair(previewd, lambda: sides.naive.run(theirs.component().text), figures)


CASES = [
    stream_case("burst", f"burst: {BURST} syncs back to back", BURST, 0),
    stream_case("stream", f"stream: {STREAM} syncs, one every {STREAM_PAUSE_S * 1000:.0f} ms", STREAM, STREAM_PAUSE_S),
    Case("at-once", f"{AT_ONCE} projects edited at once", "first webhook sent → all previews read and each shows its text",
        f"{NAIVE} in {AT_ONCE} folders, as many at once as there are cores", at_once, apps=("reference",), runs=3),
    Case("in-turn", f"{IN_TURN} projects edited in turn", "one webhook sent → its served preview was read and shows the text", NAIVE, in_turn,
        apps=("reference",), runs=IN_TURN, warm_ups=0, every=10),
]
