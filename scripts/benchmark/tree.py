"""A process and all below it, looked at while it lives: CPU time, memory, whether it is idle.

CPU time is added up from looks, since the kernel forgets it: a sandbox's processes are ended together, and nobody awaits them. What a
process used after the last look at it is missing, and so is one that lived between two looks.
"""

import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError, descendants, stat_fields

LOOK_S = 0.05
# A tree is idle when it used no more CPU than this in this time.
IDLE_FOR_S = 0.25
IDLE_CPU_MS = 20
IDLE_MAX_S = 60
# A sandboxed worker is a small wrapper and one Node process; only the latter is larger than this.
WORKER_MIN_MB = 30
TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


@dataclass
class Peaks:
    """RSS in MB: of the process itself, of all below it together, of the largest below it; and how many workers were there at once.

    RSS counts pages that processes share once for each.
    """

    own: float = 0
    below: float = 0
    largest: float = 0
    workers: int = 0


class Tree:
    """Looks until it is left. `peaks` may be replaced to begin anew."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peaks = Peaks()
        # Of each process its CPU time at the last look, in ticks. An id comes again only after thousands of others.
        self._ticks: dict[int, int] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> "Tree":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        below = descendants(self.pid)
        sizes = [rss_mb(pid) for pid in below]
        with self._lock:
            for pid in (self.pid, *below):
                if fields := stat_fields(pid):
                    self._ticks[pid] = int(fields[11]) + int(fields[12])
            peaks = self.peaks
            peaks.own = max(peaks.own, rss_mb(self.pid))
            peaks.below = max(peaks.below, sum(sizes))
            peaks.largest = max(peaks.largest, max(sizes, default=0))
            peaks.workers = max(peaks.workers, sum(size > WORKER_MIN_MB for size in sizes))

    def cpu_ms(self) -> float:
        """Since it began, of all that were ever seen. Only differences mean something."""
        self._look()
        with self._lock:
            return sum(self._ticks.values()) * TICK_MS

    def wait_until_idle(self) -> None:
        """Waits for work after the answer (compression, clean-up, layers): it must not fall on the other side's measurement."""
        deadline = time.monotonic() + IDLE_MAX_S
        before = self.cpu_ms()
        while time.monotonic() < deadline:
            time.sleep(IDLE_FOR_S)
            now = self.cpu_ms()
            if now - before <= IDLE_CPU_MS:
                return
            before = now
        raise BenchError(f"process {self.pid} was still busy after {IDLE_MAX_S} s")

    def workers(self) -> list[int]:
        """The Node processes that it keeps."""
        return [pid for pid in descendants(self.pid) if rss_mb(pid) > WORKER_MIN_MB]


def rss_mb(pid: int) -> float:
    """0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MB
    except (FileNotFoundError, ProcessLookupError):
        return 0


def pss_mb(pid: int) -> float:
    """Proportional: of pages that n processes share, an n-th. 0 when the process is gone."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) / 1024 if found else 0
