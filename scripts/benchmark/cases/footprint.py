"""What projects of one template take on the disk, and daemon and workers in memory."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from apps import App
from cases.common import FIRST_TEXT, Bench, Case, Sides, expect, flush, project_of, warm_sides
from daemon import Daemon
from measure import Figure, Pair
from naive import Naive
from tree import Peaks, Tree, pss_mb, rss_mb

PROJECTS = 20
MB = 1024 * 1024
EDITS = 5


@dataclass
class Use:
    """Inodes and allocated bytes; what has several names counts once."""

    inodes: int = 0
    bytes: int = 0

    def __sub__(self, other: "Use") -> "Use":
        return Use(self.inodes - other.inodes, self.bytes - other.bytes)


def use_of(*roots: Path) -> Use:
    seen, use = set(), Use()
    todo = [str(root) for root in roots if root.exists()]
    while todo:
        at = todo.pop()
        told = os.lstat(at)
        if told.st_ino in seen:
            continue
        seen.add(told.st_ino)
        use = Use(use.inodes + 1, use.bytes + told.st_blocks * 512)
        if os.path.isdir(at) and not os.path.islink(at):
            todo += [entry.path for entry in os.scandir(at)]
    return use


@contextlib.contextmanager
def template(bench: Bench, app: App) -> Iterator[Pair]:
    count = bench.count(PROJECTS, 3)
    yield Pair(figures=lambda: template_figures(bench, app, count))


def template_figures(bench: Bench, app: App, count: int) -> list[Figure]:
    ours, output = ours_beyond(bench, app, count)
    theirs, each = plain_beyond(bench, app, count), count - 1
    return [
        Figure("inodes of a project beyond sources and output", "", ours.inodes / each, theirs.inodes / each, at_most=200),
        Figure("bytes of a project beyond sources and output", "MB", ours.bytes / each / MB, theirs.bytes / each / MB, at_most=2),
        Figure("inodes of its sources and output (two releases, compressed copies)", "", output.inodes / each),
        Figure("bytes of its sources and output (two releases, compressed copies)", "MB", output.bytes / each / MB),
    ]


def ours_beyond(bench: Bench, app: App, count: int) -> tuple[Use, Use]:
    """Of all projects but the first: what they take beyond sources and output, and these. Each was built twice, as one that is edited."""
    with Daemon(bench.binary, bench.home / f"template-{app.key}") as daemon:
        sides = Sides(bench, app, daemon, Naive(bench.home / "naive", bench.source_of(app), app.key))
        sides.steady_project("template-0")
        first = everything(daemon)
        names = [f"template-{number}" for number in range(1, count)]
        for name in names:
            sides.first_live(name)
            edit = sides.edits(name).component()
            daemon.webhook_to_live(name, edit.text, **edit.body())
        projects = [daemon.data / "projects" / name for name in names]
        for project in projects:
            expect((project / "frontend").is_dir() and (project / "releases").is_dir(), f"{project} has sources and releases")
        output = use_of(*(p / part for p in projects for part in ("frontend", "releases")))
        return everything(daemon) - first - output, output


def everything(daemon: Daemon) -> Use:
    """All that the daemon wrote; the source is the chat backend's."""
    flush()
    return use_of(*(path for path in daemon.data.iterdir() if path.name != "source"))


def plain_beyond(bench: Bench, app: App, count: int) -> Use:
    """The same of `pnpm install` in as many folders with one store."""
    home = bench.home / f"template-plain-{app.key}"

    def install(number: int) -> Path:
        side = Naive(home, bench.source_of(app), f"plain-{number}")
        side.install()
        return side.dir / "node_modules"

    modules = [install(0)]
    first = use_of(home / "store", *modules)
    modules += [install(number) for number in range(1, count)]
    return use_of(home / "store", *modules) - first


@contextlib.contextmanager
def memory(bench: Bench, app: App) -> Iterator[Pair]:
    yield Pair(figures=lambda: memory_figures(bench, app))


def memory_figures(bench: Bench, app: App) -> list[Figure]:
    naive = Naive(bench.home / "naive", bench.source_of(app), app.key)
    naive.install()
    with Tree(os.getpid()) as theirs:
        naive.run(FIRST_TEXT)
    with warm_sides(bench, app) as sides, project_of(sides, "memory") as (project, edits):
        tree = sides.daemon.tree
        tree.peaks = Peaks()
        for _ in range(EDITS):
            edit = edits.component()
            sample = sides.daemon.webhook_to_live(project, edit.text, **edit.body())
        ours, kept = tree.peaks, tree.workers()
        at_most = 250 if app.key == "reference" else None
        how = f"{sample.mode}, {sample.worker}"
        return [
            Figure(f"RSS of a worker, highest over {EDITS} edits ({how}); beside: of `vite build`", "MB", ours.largest, theirs.peaks.largest, at_most),
            Figure("RSS of all below the daemon, highest; beside: all of the naive pipeline", "MB", ours.below, theirs.peaks.below),
            Figure("workers that are kept afterwards", "", len(kept)),
            Figure("PSS of one of them, at rest", "MB", sum(map(pss_mb, kept)) / max(1, len(kept))),
            Figure("RSS of the daemon, at rest", "MB", rss_mb(tree.pid)),
        ]


CASES = [
    Case("template", f"{PROJECTS} projects of one template on disk", "growth of data_dir (of store and node_modules) for each project after the first",
        "pnpm install --frozen-lockfile, one store", template, apps=("reference", "shadcn"), runs=0, warm_ups=0),
    Case("memory", "memory of daemon and workers", f"one project in its steady state, {EDITS} edits, looked at every 50 ms", "vite build", memory, runs=0, warm_ups=0),
]
