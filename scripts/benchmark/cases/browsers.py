"""What somebody sees in Chromium: the first load, and an edit; beside Vite's dev server with HMR."""

import contextlib
from collections.abc import Iterator

from apps import App
from browser import Browser
from cases.common import FIRST_TEXT, Bench, Case, filler, project_of, warm_sides
from daemon import BUILD_MAX_MS
from devserver import DevServer
from edits import Edits
from measure import Clock, Pair, Sample
from processes import BenchError
from tree import Tree


def browser(bench: Bench) -> Browser:
    return Browser(bench.repository, bench.tools, bench.home / "browser")


@contextlib.contextmanager
def first_load(bench: Bench, app: App) -> Iterator[Pair]:
    """Either side with a browser that has just begun; the dev server too, so that nothing is transformed yet. Its dependencies are bundled."""
    with warm_sides(bench, app) as sides:
        edits = sides.ready_filler()
        url = sides.daemon.status(filler(app))["preview_url"]

        def previewd() -> Sample:
            return load(bench, url, edits.text(), sides.daemon.tree)

        def dev() -> Sample:
            with DevServer(sides.naive) as server:
                return load(bench, server.url, FIRST_TEXT, server.tree)

        yield Pair(previewd, dev)


def load(bench: Bench, url: str, text: str, server: Tree) -> Sample:
    """CPU is the server's."""
    with browser(bench) as page:
        cpu, clock = server.cpu_ms(), Clock()
        page.goto(url)
        page.see(text)
        return Sample(clock.ms(), server.cpu_ms() - cpu)


@contextlib.contextmanager
def edit_visible(bench: Bench, app: App) -> Iterator[Pair]:
    with warm_sides(bench, app) as sides, project_of(sides, "visible") as (project, ours):
        with browser(bench) as our_page, browser(bench) as their_page, DevServer(sides.naive) as server:
            our_page.goto(sides.daemon.status(project)["preview_url"])
            their_page.goto(server.url)
            their_page.see(FIRST_TEXT)
            theirs = Edits(app, sides.naive.dir)

            def previewd() -> Sample:
                cpu, clock = sides.daemon.tree.cpu_ms(), Clock()
                edit = ours.component()
                answer = sides.daemon.sync(project, wait_ms=BUILD_MAX_MS, **edit.body())
                if answer["status"] != "ready":
                    raise BenchError(f"{project} did not become ready: {answer}")
                live = clock.ms()
                our_page.reload()
                our_page.see(edit.text)
                ms, build = clock.ms(), answer["build"]
                return Sample(ms, sides.daemon.settle(cpu), {"live": live, "reload": ms - live}, build["mode"], build["worker"])

            def dev() -> Sample:
                cpu, clock = server.tree.cpu_ms(), Clock()
                their_page.see(theirs.component().text)
                return Sample(clock.ms(), server.tree.cpu_ms() - cpu)

            yield Pair(previewd, dev)


CASES = [
    Case("first-load", "Chromium: first load", "address entered in a fresh browser → the page shows its text", "Vite's dev server, just started", first_load),
    Case("edit-visible", "Chromium: edit → visible", "file written → the open page shows the text (webhook, build, reload)", "Vite's dev server with HMR", edit_visible),
]
