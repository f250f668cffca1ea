"""The first preview of a project that was never seen before, with everything there or nothing."""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator

from apps import ADDITIONS, App
from cases.common import FIRST_TEXT, NAIVE, NAIVE_FIRST, TO_LIVE, Bench, Case, Sides, first_live, flush, warm_sides
from cases.edit import fill_stores
from daemon import Daemon
from measure import Pair, Sample
from naive import Naive


@contextlib.contextmanager
def cold_store(bench: Bench, app: App) -> Iterator[Pair]:
    def previewd() -> Sample:
        home = bench.home / "cold-previewd"
        shutil.rmtree(home, ignore_errors=True)
        flush()
        with Daemon(bench.binary, home) as daemon:
            return first_live(bench, app, daemon, "first")

    def naive() -> Sample:
        home = bench.home / "cold-naive"
        shutil.rmtree(home, ignore_errors=True)
        side = Naive(home, bench.source_of(app))
        flush()
        return side.run(FIRST_TEXT)

    yield Pair(previewd, naive)


@contextlib.contextmanager
def warm_store(bench: Bench, app: App) -> Iterator[Pair]:
    """Each project has a dependency set that nobody had: other packages more each time."""
    spare = list(ADDITIONS)[1:]
    sets = itertools.chain.from_iterable(itertools.combinations(spare, size) for size in range(2, len(spare)))
    with warm_sides(bench, app) as sides:
        fill_stores(sides)
        yield Pair(first_previews(sides, "warm", lambda: next(sets)), without_node_modules(sides.naive))


@contextlib.contextmanager
def known_layer(bench: Bench, app: App) -> Iterator[Pair]:
    with warm_sides(bench, app) as sides:
        sides.ready_filler()
        yield Pair(first_previews(sides, "known"), without_node_modules(sides.naive))


@contextlib.contextmanager
def empty_pool(bench: Bench, app: App) -> Iterator[Pair]:
    """A daemon that has just begun has no workers waiting."""
    with warm_sides(bench, app) as sides:
        sides.ready_filler()
        daemon = sides.daemon
    names = (f"empty-{app.key}-{number}" for number in itertools.count())

    def previewd() -> Sample:
        with Daemon(bench.binary, daemon.home) as fresh:
            project = next(names)
            sample = first_live(bench, app, fresh, project)
            fresh.forget(project)
            return sample

    yield Pair(previewd, without_node_modules(sides.naive))


def first_previews(sides: Sides, name: str, additions: Callable[[], tuple[str, ...]] = tuple) -> Callable[[], Sample]:
    numbers = itertools.count()

    def previewd() -> Sample:
        project = f"{name}-{sides.app.key}-{next(numbers)}"
        sample = sides.first_live(project, *additions())
        sides.daemon.forget(project)
        return sample

    return previewd


def without_node_modules(side: Naive) -> Callable[[], Sample]:
    def naive() -> Sample:
        side.forget_dependencies()
        flush()
        return side.run(FIRST_TEXT)

    return naive


KNOWN = {"reference": 3.0, "shadcn": 3.0, "vue": 3.0}
CASES = [
    Case("first-cold", "first preview: cold store", f"{TO_LIVE}; empty data_dir, packages downloaded", NAIVE, cold_store, runs=2, warm_ups=0, cold=True),
    Case("first-warm", "first preview: warm store", f"{TO_LIVE}; the packages are in the store, the dependency set is new", NAIVE_FIRST, warm_store),
    Case("first-known", "first preview: known layer", f"{TO_LIVE}; another project has the same layer", NAIVE_FIRST, known_layer, at_least=KNOWN),
    Case("first-empty-pool", "first preview: known layer, pool empty", f"{TO_LIVE}; right after a start of the daemon", NAIVE_FIRST, empty_pool),
]
