"""What all cases share: where everything is, both sides with their stores filled, a project's steady state."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apps
from apps import App
from daemon import Daemon
from edits import Edits
from measure import Pair, Sample
from naive import Naive, css_bytes
from processes import BenchError, say

NAIVE = "pnpm install --frozen-lockfile && vite build"
NAIVE_FIRST = f"{NAIVE}, without node_modules"
TO_LIVE = "webhook sent → the served preview was read and shows the text"
FIRST_TEXT = "edition 0"
# A project is edited this often, and for this long, until its layer and its worker are ready.
STEADY_EDITS = 12
STEADY_MAX_S = 60
# Time for background work that is waiting for something else than the processor.
STEADY_PAUSE_S = 1


@dataclass
class Bench:
    """Where everything is. `few` stands for a quick run: fewer projects where a case has many."""

    binary: Path
    tools: Path
    repository: Path
    home: Path
    few: bool
    # Whether an app's projects have ever reached a steady state: for one that has not, nobody waits again.
    reached: dict[str, bool] = field(default_factory=dict)

    def source_of(self, app: App) -> Path:
        """The app as generated; nothing changes it."""
        made = self.home / "apps" / app.key
        return made if made.exists() else app.make(self.repository, made)

    def count(self, wanted: int, quick: int) -> int:
        return quick if self.few else wanted


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    measures: str
    beside_is: str
    # Prepares for an app; where the case has none of `APPS`, for nothing.
    open: Callable[[Bench, Any], contextlib.AbstractContextManager[Pair]]
    apps: tuple[str, ...] = ("reference", "shadcn", "vue")
    runs: int = 5
    # The other side is run at the first of so many.
    every: int = 1
    warm_ups: int = 1
    # Left out of a quick run: packages are downloaded.
    cold: bool = False
    # Times faster, median to median, that are meant to be reached.
    at_least: dict[str, float] = field(default_factory=dict)


@dataclass
class Sides:
    """Both sides, ready for an app: the daemon serves `filler`, which holds the app as generated."""

    bench: Bench
    app: App
    daemon: Daemon
    naive: Naive

    def first_live(self, project: str, *additions: str) -> Sample:
        return first_live(self.bench, self.app, self.daemon, project, *additions)

    def edits(self, project: str) -> Edits:
        return Edits(self.app, self.daemon.source(project))

    def steady_project(self, project: str) -> Edits:
        """A project in its steady state, as far as that can be reached."""
        self.first_live(project)
        edits = self.edits(project)
        self.reach_steady(project, edits)
        return edits

    def ready_filler(self) -> Edits:
        """Sees to it that a project of the app's dependency set builds with its layer."""
        edits = self.edits(filler(self.app))
        self.reach_steady(filler(self.app), edits)
        return edits

    def reach_steady(self, project: str, edits: Edits) -> None:
        """Edits until builds are layered and their worker is warm; where that does not come, the table says what there was."""
        if self.bench.reached.get(self.app.key) is False:
            return
        deadline = time.monotonic() + STEADY_MAX_S
        for _ in range(STEADY_EDITS):
            edit = edits.component()
            sample = self.daemon.webhook_to_live(project, edit.text, **edit.body())
            if (sample.mode, sample.worker) == ("layered", "warm"):
                self.bench.reached[self.app.key] = True
                return
            if time.monotonic() > deadline:
                break
            time.sleep(STEADY_PAUSE_S)
        self.bench.reached.setdefault(self.app.key, False)
        reason = self.daemon.status(project)["last_build"].get("mode_reason", "no reason given")
        say(f"  {self.app.key}: builds stay {sample.mode} on a {sample.worker} worker ({reason})")


@contextlib.contextmanager
def warm_sides(bench: Bench, app: App) -> Iterator[Sides]:
    """Both with a filled store. The stores are filled by the first case that needs them."""
    naive = Naive(bench.home / "naive", bench.source_of(app), app.key)
    naive.run(FIRST_TEXT)
    with Daemon(bench.binary, bench.home / "previewd") as daemon:
        sides = Sides(bench, app, daemon, naive)
        if not daemon.source(filler(app)).exists():
            sides.first_live(filler(app))
        sides_alike(daemon, naive, app)
        yield sides


def sides_alike(daemon: Daemon, naive: Naive, app: App) -> None:
    """Figures of unequal work would be worth nothing. Minifiers and copies of source maps may differ by a little."""
    ours, theirs = css_bytes(daemon.live(filler(app))), naive.css_bytes()
    expect(abs(ours - theirs) <= theirs / 50, f"both sides write the same CSS ({ours} and {theirs} bytes)")


def filler(app: App) -> str:
    return f"filler-{app.key}"


@contextlib.contextmanager
def project_of(sides: Sides, name: str) -> Iterator[tuple[str, Edits]]:
    """A project in its steady state, for as long as a case runs."""
    project = f"{name}-{sides.app.key}"
    edits = sides.steady_project(project)
    yield project, edits
    sides.daemon.forget(project)


def first_live(bench: Bench, app: App, daemon: Daemon, project: str, *additions: str) -> Sample:
    """A project that was never seen before, with these dependencies more."""
    source = apps.copy(bench.source_of(app), daemon.source(project))
    apps.add_dependencies(source, list(additions))
    flush()
    return daemon.webhook_to_live(project, FIRST_TEXT)


def flush() -> None:
    """What was written or removed so far must not be paid for by the next `fsync`, which is previewd's."""
    os.sync()


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise BenchError(f"not as expected: {what}")
