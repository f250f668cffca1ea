"""One edit of a project in its steady state → live; of every kind."""

import contextlib
from collections.abc import Iterator
from typing import Any

import apps
from apps import ADDITIONS, App
from cases.common import NAIVE, TO_LIVE, Bench, Case, Sides, filler, project_of, warm_sides
from edits import KINDS, Edits
from measure import Pair, Sample
from naive import Naive


def edit_case(key: str, kind: str, title: str, **how: Any) -> Case:
    @contextlib.contextmanager
    def opened(bench: Bench, app: App) -> Iterator[Pair]:
        with warm_sides(bench, app) as sides:
            if kind == "new-dependency":
                fill_stores(sides)
            with project_of(sides, key) as (project, edits):
                yield pair(sides, project, edits, kind)

    return Case(key, title, TO_LIVE, NAIVE, opened, **how)


def pair(sides: Sides, project: str, ours: Edits, kind: str) -> Pair:
    theirs = Edits(sides.app, sides.naive.dir)

    def previewd() -> Sample:
        # What the edit before set off in the background is over: its layer's next edition, another worker.
        sides.reach_steady(project, ours)
        edit = KINDS[kind](ours)
        return sides.daemon.webhook_to_live(project, edit.text, **edit.body())

    def naive() -> Sample:
        return sides.naive.run(KINDS[kind](theirs).text)

    return Pair(previewd, naive)


def fill_stores(sides: Sides) -> None:
    """The packages to come are in both stores, as parts of another dependency set: what is measured is not the network."""
    everything = f"{filler(sides.app)}-all"
    if not sides.daemon.source(everything).exists():
        sides.first_live(everything, *ADDITIONS)
    aside = Naive(sides.naive.home, sides.bench.source_of(sides.app), f"{sides.app.key}-all")
    apps.add_dependencies(aside.dir, list(ADDITIONS))
    aside.install()


CASES = [
    edit_case("edit", "component", "edit: a component", runs=20, every=4, at_least={"reference": 15, "shadcn": 15}),
    edit_case("edit-css", "css", "edit: the style sheet"),
    edit_case("edit-config", "config", "edit: vite.config"),
    edit_case("edit-new-file", "new-file", "edit: a new component and its import"),
    edit_case("edit-new-import", "new-import", "edit: first import of an installed package"),
    edit_case("edit-new-dependency", "new-dependency", "edit: a new dependency (in the store)"),
]
