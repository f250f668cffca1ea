"""What is measured and how it is summed up: samples, pairs, quantiles. Pure but for the clock."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Sample:
    """One measurement, all in ms: the time that somebody waits, the CPU time until all work is done, and where the wait went."""

    ms: float
    cpu: float
    phases: dict[str, float] = field(default_factory=dict)


@dataclass
class Pair:
    """The two sides of a case. Each call prepares, measures once, checks the outcome and cleans up."""

    previewd: Callable[[], Sample]
    naive: Callable[[], Sample]


@dataclass
class Result:
    """All samples of one case."""

    key: str
    title: str
    measures: str
    naive_is: str
    previewd: list[Sample]
    naive: list[Sample]
    load_before: float

    def ratio(self) -> float:
        """How many times faster previewd is, median to median."""
        return median(self.naive) / median(self.previewd)


class Clock:
    """Runs from its creation."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()

    def ms(self) -> float:
        return (time.perf_counter() - self.begun) * 1000


def median(samples: list[Sample]) -> float:
    return statistics.median(sample.ms for sample in samples)


def p95(samples: list[Sample]) -> float:
    """Nearest rank: with fewer than 20 samples this is the slowest of them."""
    ordered = sorted(sample.ms for sample in samples)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def cpu_median(samples: list[Sample]) -> float:
    return statistics.median(sample.cpu for sample in samples)


def phase_medians(samples: list[Sample]) -> dict[str, float]:
    """Of every phase its own median, so they need not add up."""
    names = dict.fromkeys(name for sample in samples for name in sample.phases)
    return {name: statistics.median(sample.phases.get(name, 0) for sample in samples) for name in names}


def interleave(pair: Pair, runs: int, warm_up: bool, progress: Callable[[str], None]) -> tuple[list[Sample], list[Sample]]:
    """A B A B …: what else the machine does falls on both sides alike. A warm-up pair is not counted."""
    ours, theirs = [], []
    for run in range(-1 if warm_up else 0, runs):
        a, b = pair.previewd(), pair.naive()
        progress(f"  {'warm-up' if run < 0 else run + 1}: previewd {a.ms:.0f} ms, naive {b.ms:.0f} ms")
        if run >= 0:
            ours.append(a)
            theirs.append(b)
    return ours, theirs
