"""The way from the source: webhooks that change nothing or little, beside rclone and beside the source's own answer."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

from apps import App
from blob_project import BLOB_PROJECT, BLOBS, EDITED_BLOB, Blobs, filled_blobs, open_blobs
from cases.common import FIRST_TEXT, NAIVE, Bench, Case, expect, flush, warm_sides
from daemon import BUILD_MAX_MS
from measure import Clock, Figure, Pair, Sample, median

BEYOND_MAX_MS = 5


@contextlib.contextmanager
def no_change(bench: Bench, app: App) -> Iterator[Pair]:
    with warm_sides(bench, app) as sides:
        project = f"same-{app.key}"
        sides.first_live(project)

        def previewd() -> Sample:
            cpu, clock = sides.daemon.tree.cpu_ms(), Clock()
            answer = sides.daemon.sync(project, wait_ms=BUILD_MAX_MS)
            sample = Sample(clock.ms(), sides.daemon.settle(cpu))
            expect(answer["status"] == "no_changes", f"an unchanged project: {answer}")
            return sample

        yield Pair(previewd, lambda: sides.naive.run(FIRST_TEXT))
        sides.daemon.forget(project)


@contextlib.contextmanager
def blobs_full(bench: Bench, _: App) -> Iterator[Pair]:
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
def blobs_one(bench: Bench, _: App) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        yield changing_pair(blobs, {}, [])


@contextlib.contextmanager
def blobs_named(bench: Bench, _: App) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        names = blobs.rclone.target.parent / "changed-files.txt"
        names.write_text(f"{EDITED_BLOB}\n")
        body = {"changed_files": [{"path": EDITED_BLOB, "type": "frontend"}]}
        yield changing_pair(blobs, body, ["--files-from-raw", str(names), "--no-traverse"])


@contextlib.contextmanager
def blobs_none(bench: Bench, _: App) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        yield Pair(lambda: blobs.sync(0), blobs.copy)


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


@contextlib.contextmanager
def beyond_list(bench: Bench, _: App) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        yield beyond(lambda: blobs.sync(0), lambda: blobs.azurite.list(f"{blobs.prefix}/"))


@contextlib.contextmanager
def beyond_named(bench: Bench, _: App) -> Iterator[Pair]:
    with filled_blobs(bench) as blobs:
        name = f"{blobs.prefix}/{EDITED_BLOB}"
        etag = blobs.azurite.etag(name)
        body = {"changed_files": [{"path": EDITED_BLOB, "type": "frontend"}]}
        yield beyond(lambda: blobs.sync(0, **body), lambda: blobs.azurite.unchanged(name, etag))


def beyond(sync: Callable[[], Sample], ask: Callable[[], None]) -> Pair:
    """What previewd adds to the answer that it waits for. Azurite's work is on the other side as well, so no CPU is told."""
    ours: list[Sample] = []
    theirs: list[Sample] = []

    def previewd() -> Sample:
        ours.append(sync())
        return ours[-1]

    def source() -> Sample:
        clock = Clock()
        ask()
        theirs.append(Sample(clock.ms(), 0))
        return theirs[-1]

    # The first of each warmed up.
    return Pair(previewd, source, lambda: [Figure("beyond the source's own answer, median", "ms", median(ours[1:]) - median(theirs[1:]), at_most=BEYOND_MAX_MS)])


TO_ANSWER = "webhook sent → answered (sources here, revision durable; the build not included)"
NONE = "webhook sent → answered no_changes"
ONE = ("blobs",)

CASES = [
    Case("no-change", "sync without a change", f"{NONE}; everything compared", NAIVE, no_change, apps=("reference",)),
    Case("blobs-full", "Azurite: 1,000 of 1,000 blobs", TO_ANSWER, "rclone sync into an empty folder", blobs_full, apps=ONE),
    Case("blobs-one", "Azurite: 1 of 1,000 blobs, found by listing", TO_ANSWER, "rclone sync", blobs_one, apps=ONE),
    Case("blobs-named", "Azurite: 1 of 1,000 blobs, named in the webhook", TO_ANSWER, "rclone copy --files-from-raw --no-traverse", blobs_named, apps=ONE),
    Case("blobs-none", "Azurite: 0 of 1,000 blobs", NONE, "rclone sync", blobs_none, apps=ONE),
    Case("beyond-list", "Azurite: 0 of 1,000 blobs, beside the list alone", NONE, "the same list, asked for and read", beyond_list, runs=20, apps=ONE),
    Case("beyond-named", "Azurite: a named blob that did not change, beside asking for it", NONE, "the same blob, asked for: 304", beyond_named, runs=20, apps=ONE),
]
