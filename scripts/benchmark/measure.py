"""What is measured and how it is summed up: samples, pairs, figures, quantiles. Pure but for the clock."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass
class Sample:
    """One measurement, all in ms: the time that somebody waits, the CPU time until all work is done, and where the wait went."""

    ms: float
    cpu: float
    phases: dict[str, float] = field(default_factory=dict)
    # How previewd says that it built: `layered` or `plain`, on a `warm` or `cold` worker; empty where it was not asked.
    mode: str = ""
    worker: str = ""


@dataclass
class Figure:
    """A number that is not a time of one request, of both sides; `at_most` is what previewd's is meant to stay below."""

    what: str
    unit: str
    previewd: float
    beside: float | None = None
    at_most: float | None = None


def never() -> Sample:
    raise AssertionError("a case without runs was run")


@dataclass
class Pair:
    """The two sides of a case. Each call prepares, measures once, checks the outcome and cleans up.

    `figures` is asked once, after the last run.
    """

    previewd: Callable[[], Sample] = never
    beside: Callable[[], Sample] = never
    figures: Callable[[], list[Figure]] = list


@dataclass
class Plan:
    """How often a pair is run: not counted, counted, and the other side only at every so-manieth."""

    warm_ups: int
    runs: int
    every: int = 1


@dataclass
class Result:
    """All that came of one case with one app; `failure` says why it ended early."""

    case: str
    app: str
    title: str
    measures: str
    beside_is: str
    load_before: float
    at_least: float | None = None
    previewd: list[Sample] = field(default_factory=list)
    beside: list[Sample] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    failure: str = ""

    def timed(self) -> bool:
        return bool(self.previewd and self.beside)

    def ratio(self) -> float:
        """How many times faster previewd is, median to median."""
        return median(self.beside) / median(self.previewd)


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
    return rank95(sample.ms for sample in samples)


def rank95(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(0.95 * len(ordered)) - 1]


def cpu_median(samples: list[Sample]) -> float:
    return statistics.median(sample.cpu for sample in samples)


def phase_medians(samples: list[Sample]) -> dict[str, float]:
    """Of every phase its own median, so they need not add up."""
    names = dict.fromkeys(name for sample in samples for name in sample.phases)
    return {name: statistics.median(sample.phases.get(name, 0) for sample in samples) for name in names}


def interleave(pair: Pair, plan: Plan, result: Result, progress: Callable[[str], None]) -> None:
    """A B A B …: what else the machine does falls on both sides alike."""
    for run in range(-plan.warm_ups, plan.runs):
        ours = pair.previewd()
        told = f"  {run + 1 if run >= 0 else 'warm-up'}: previewd {ours.ms:.0f} ms {ours.mode} {ours.worker}".rstrip()
        if run >= 0:
            result.previewd.append(ours)
        if run == -1 or (run >= 0 and run % plan.every == 0):
            theirs = pair.beside()
            told += f", beside {theirs.ms:.0f} ms"
            if run >= 0:
                result.beside.append(theirs)
        progress(told)
    result.figures = pair.figures()
