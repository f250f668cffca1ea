"""The cases: what is measured, from where to where, and what stands on the other side.

Each case is a context manager that prepares both sides, yields the pair of measurements, and cleans up.
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blobs import CONTAINER, Azurite, Rclone
from daemon import BUILD_MAX_MS, Daemon
from measure import Clock, Pair, Sample
from naive import Naive, css_bytes
from processes import BenchError, clean_env, cpu_ms, run

# The start page of the reference app, and its text that occurs once (see scripts/bench-apps/reference).
EDITED = "src/areas/overview/OverviewPage.tsx"
MARKER = "edition {}"
NAIVE = "pnpm install --frozen-lockfile && vite build"

BLOBS = 1000
BLOB_FOLDERS = 40
BLOB_BYTES = 2000
EDITED_BLOB = "src/part-7/file-7.ts"
BLOB_PREFIX = "apps"
BLOB_PROJECT = "blobs"


@dataclass
class Bench:
    """Where everything is."""

    binary: Path
    tools: Path
    home: Path
    app: Path


@dataclass
class Case:
    key: str
    title: str
    measures: str
    naive_is: str
    open: Callable[[Bench], contextlib.AbstractContextManager[Pair]]
    # Cold cases download packages: fewer runs, and no warm-up.
    cold: bool = False


class Editions:
    """Edits of the start page: each writes a text that was never there before."""

    def __init__(self) -> None:
        self.number = 0

    def edit(self, file: Path) -> str:
        before, self.number = MARKER.format(self.number), self.number + 1
        replace(file, file.read_text().replace(before, MARKER.format(self.number)))
        return self.marker()

    def marker(self) -> str:
        return MARKER.format(self.number)


def replace(file: Path, text: str) -> None:
    aside = file.with_name(f".{file.name}.tmp")
    aside.write_text(text)
    os.replace(aside, file)


def make_app(repository: Path, into: Path) -> Path:
    run(["node", str(repository / "scripts/bench-apps/reference/generate.mjs"), str(into)], repository, clean_env())
    if MARKER.format(0) not in (into / EDITED).read_text():
        raise BenchError(f"the reference app has no {MARKER.format(0)!r} in {EDITED}")
    (into / ".gitignore").write_text("node_modules\ndist\n")
    return into


def first_live(daemon: Daemon, bench: Bench, project: str) -> Sample:
    shutil.copytree(bench.app, daemon.source(project))
    flush()
    return daemon.webhook_to_live(project, MARKER.format(0))


def flush() -> None:
    """What was written or removed so far must not be paid for by the next `fsync`, which is previewd's."""
    os.sync()


@contextlib.contextmanager
def first_cold(bench: Bench) -> Iterator[Pair]:
    def previewd() -> Sample:
        home = bench.home / "cold-previewd"
        shutil.rmtree(home, ignore_errors=True)
        flush()
        with Daemon(bench.binary, home) as daemon:
            return first_live(daemon, bench, "first")

    def naive() -> Sample:
        home = bench.home / "cold-naive"
        shutil.rmtree(home, ignore_errors=True)
        side = Naive(home, bench.app)
        flush()
        return side.run(MARKER.format(0))

    yield Pair(previewd, naive)


@contextlib.contextmanager
def first_warm(bench: Bench) -> Iterator[Pair]:
    def forget_layers(daemon: Daemon) -> None:
        shutil.rmtree(daemon.data / "layers")
        (daemon.data / "layers").mkdir()

    with warm_sides(bench) as (daemon, side):
        yield Pair(first_previews(daemon, bench, "warm", forget_layers), without_node_modules(side))


@contextlib.contextmanager
def first_shared(bench: Bench) -> Iterator[Pair]:
    with warm_sides(bench) as (daemon, side):
        yield Pair(first_previews(daemon, bench, "shared", lambda _: None), without_node_modules(side))


@contextlib.contextmanager
def warm_sides(bench: Bench) -> Iterator[tuple[Daemon, Naive]]:
    """Both with a filled store, previewd with the layer too. The stores are filled by the first case that needs them."""
    side = Naive(bench.home / "naive", bench.app)
    side.run(MARKER.format(0))
    with Daemon(bench.binary, bench.home / "previewd") as daemon:
        if not daemon.source("filler").exists():
            first_live(daemon, bench, "filler")
        expect(css_bytes(daemon.live("filler")) == side.css_bytes(), "both sides write the same CSS: they do the same work")
        yield daemon, side


def first_previews(daemon: Daemon, bench: Bench, name: str, prepare: Callable[[Daemon], None]) -> Callable[[], Sample]:
    """A project that was never seen before, each time."""
    numbers = itertools.count()

    def previewd() -> Sample:
        prepare(daemon)
        return first_live(daemon, bench, f"{name}-{next(numbers)}")

    return previewd


def without_node_modules(side: Naive) -> Callable[[], Sample]:
    def naive() -> Sample:
        side.forget_dependencies()
        flush()
        return side.run(MARKER.format(0))

    return naive


@contextlib.contextmanager
def edit(bench: Bench) -> Iterator[Pair]:
    ours, theirs = Editions(), Editions()
    with warm_sides(bench) as (daemon, side):
        first_live(daemon, bench, "edited")

        def previewd() -> Sample:
            marker = ours.edit(daemon.source("edited") / EDITED)
            return daemon.webhook_to_live("edited", marker, changed_files=[{"path": EDITED, "type": "frontend"}])

        def naive() -> Sample:
            marker = theirs.edit(side.dir / EDITED)
            return side.run(marker)

        yield Pair(previewd, naive)


@contextlib.contextmanager
def no_change(bench: Bench) -> Iterator[Pair]:
    with warm_sides(bench) as (daemon, side):
        first_live(daemon, bench, "same")

        def previewd() -> Sample:
            cpu, clock = cpu_ms(daemon.process.pid), Clock()
            answer = daemon.sync("same", wait_ms=BUILD_MAX_MS)
            sample = Sample(clock.ms(), daemon.settle(cpu))
            expect(answer["status"] == "no_changes", f"an unchanged project: {answer}")
            return sample

        yield Pair(previewd, lambda: side.run(MARKER.format(0)))


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise BenchError(f"not as expected: {what}")


class Blobs:
    """A static project of 1,000 blobs in Azurite, a daemon that syncs it, and rclone with a folder of its own."""

    def __init__(self, bench: Bench, azurite: Azurite, daemon: Daemon) -> None:
        self.azurite, self.daemon = azurite, daemon
        self.prefix = f"{BLOB_PREFIX}/{BLOB_PROJECT}/frontend"
        self.rclone = Rclone(azurite, self.prefix, bench.home / "blobs-rclone/project")
        self.rclone.target.mkdir(parents=True)
        self.edits = 0

    def fill(self) -> None:
        names = [f"src/part-{n % BLOB_FOLDERS}/file-{n}.ts" for n in range(BLOBS - 1)]
        for n, name in enumerate(names):
            self.azurite.put(f"{self.prefix}/{name}", f"export const n{n} = {n};\n".encode() * (BLOB_BYTES // 24))
        self.azurite.put(f"{self.prefix}/index.html", b"<!doctype html><title>Blobs</title><h1>Blobs</h1>\n")

    def change_one(self) -> str:
        """Its size differs each time: rclone compares sizes and seconds."""
        self.edits += 1
        text = f"export const edit = {self.edits};\n" + "\n" * self.edits
        self.azurite.put(f"{self.prefix}/{EDITED_BLOB}", text.encode())
        return text

    def sync(self, want_changes: int, **body: object) -> Sample:
        """From sending the webhook to its answer: the sources are here and the revision is durable. The build comes after.

        CPU is the daemon's at the answer; Azurite's is neither side's.
        """
        pid = self.daemon.process.pid
        cpu, clock = cpu_ms(pid), Clock()
        answer = self.daemon.sync(BLOB_PROJECT, **body)
        sample = Sample(clock.ms(), cpu_ms(pid) - cpu)
        expect(len(answer["changes"]) == want_changes, f"{len(answer['changes'])} files changed, not {want_changes}")
        self.daemon.wait_built(BLOB_PROJECT)
        return sample

    def copy(self, *flags: str) -> Sample:
        return self.rclone.run("copy" if flags else "sync", *flags)

    def check(self, root: Path, text: str) -> None:
        expect((root / EDITED_BLOB).read_text() == text, f"{root / EDITED_BLOB} holds the edit")
        expect(sum(len(files) for _, _, files in os.walk(root)) == BLOBS, f"{root} holds {BLOBS} files")


@contextlib.contextmanager
def open_blobs(bench: Bench) -> Iterator[Blobs]:
    shutil.rmtree(bench.home / "blobs-rclone", ignore_errors=True)
    shutil.rmtree(bench.home / "blobs-previewd", ignore_errors=True)
    with Azurite(bench.home / "azurite", bench.tools) as azurite:
        env = {"AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string(), "PREVIEWD__SOURCE__URL": f"azure://{CONTAINER}/{BLOB_PREFIX}"}
        with Daemon(bench.binary, bench.home / "blobs-previewd", env) as daemon:
            blobs = Blobs(bench, azurite, daemon)
            blobs.fill()
            yield blobs


@contextlib.contextmanager
def blobs_full(bench: Bench) -> Iterator[Pair]:
    with open_blobs(bench) as blobs:

        def previewd() -> Sample:
            blobs.daemon.call("DELETE", f"/projects/{BLOB_PROJECT}")
            flush()
            return blobs.sync(BLOBS)

        def naive() -> Sample:
            shutil.rmtree(blobs.rclone.target)
            blobs.rclone.target.mkdir()
            flush()
            return blobs.copy()

        blobs.daemon.sync(BLOB_PROJECT)
        blobs.daemon.wait_built(BLOB_PROJECT)
        yield Pair(previewd, naive)


@contextlib.contextmanager
def blobs_one(bench: Bench) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        yield changing_pair(blobs, {}, [])


@contextlib.contextmanager
def blobs_named(bench: Bench) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        names = blobs.rclone.target.parent / "changed-files.txt"
        names.write_text(f"{EDITED_BLOB}\n")
        body = {"changed_files": [{"path": EDITED_BLOB, "type": "frontend"}]}
        yield changing_pair(blobs, body, ["--files-from-raw", str(names), "--no-traverse"])


@contextlib.contextmanager
def blobs_none(bench: Bench) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        yield Pair(lambda: blobs.sync(0), blobs.copy)


@contextlib.contextmanager
def filled_blobs(bench: Bench) -> Iterator[Blobs]:
    with open_blobs(bench) as blobs:
        blobs.sync(BLOBS)
        blobs.copy()
        yield blobs


def changing_pair(blobs: Blobs, body: dict, flags: list[str]) -> Pair:
    """Either side changes the blob anew and takes over one file."""

    def previewd() -> Sample:
        text = blobs.change_one()
        sample = blobs.sync(1, **body)
        blobs.check(blobs.daemon.synced(BLOB_PROJECT), text)
        return sample

    def naive() -> Sample:
        text = blobs.change_one()
        sample = blobs.copy(*flags)
        blobs.check(blobs.rclone.target, text)
        return sample

    return Pair(previewd, naive)


TO_LIVE = "webhook sent → the served preview was read and shows the text"
TO_ANSWER = "webhook sent → answered (sources here, revision durable; the build not included)"

CASES = [
    Case("first-cold", "first preview, cold store", f"{TO_LIVE}; empty data_dir, packages downloaded", NAIVE, first_cold, cold=True),
    Case("first-warm", "first preview, warm store", f"{TO_LIVE}; store filled, the project's layer new", f"{NAIVE}, without node_modules", first_warm),
    Case("first-shared", "first preview, known dependencies", f"{TO_LIVE}; another project has the same layer", f"{NAIVE}, without node_modules", first_shared),
    Case("edit", "one-file edit → live", TO_LIVE, NAIVE, edit),
    Case("no-change", "sync without a change", "webhook sent → answered no_changes; everything compared", NAIVE, no_change),
    Case("blobs-full", "Azurite: 1,000 of 1,000 blobs", TO_ANSWER, "rclone sync into an empty folder", blobs_full),
    Case("blobs-one", "Azurite: 1 of 1,000 blobs, found by listing", TO_ANSWER, "rclone sync", blobs_one),
    Case("blobs-named", "Azurite: 1 of 1,000 blobs, named in the webhook", TO_ANSWER, "rclone copy --files-from-raw --no-traverse", blobs_named),
    Case("blobs-none", "Azurite: 0 of 1,000 blobs", "webhook sent → answered no_changes", "rclone sync", blobs_none),
]
