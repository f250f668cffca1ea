"""A static project of 1,000 blobs in Azurite, which previewd syncs and rclone copies."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from blobs import CONTAINER, Azurite, Rclone
from cases.common import Bench, expect
from daemon import Daemon
from measure import Clock, Sample

BLOBS = 1000
BLOB_FOLDERS = 40
BLOB_BYTES = 2000
EDITED_BLOB = "src/part-7/file-7.ts"
BLOB_PREFIX = "apps"
BLOB_PROJECT = "blobs"


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
        cpu, clock = self.daemon.tree.cpu_ms(), Clock()
        answer = self.daemon.sync(BLOB_PROJECT, **body)
        sample = Sample(clock.ms(), self.daemon.tree.cpu_ms() - cpu)
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
def filled_blobs(bench: Bench) -> Iterator[Blobs]:
    with open_blobs(bench) as blobs:
        blobs.sync(BLOBS)
        blobs.copy()
        yield blobs
