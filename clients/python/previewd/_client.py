"""The client that blocks: how it sends and how it pauses. What is sent and when is in `_calls.py`."""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TypeVar, cast

import httpx

from ._base import ENDED_EARLY, Base, to_lost, to_reply
from ._calls import Flow, Lost, Reply, Request, Send
from ._events import EventFollower, Follower, LogFollower
from ._types import Diagnostics, Env, EnvAnswer, HistoryBuild, LogLine, Page, Priority, Project, ProjectEvent, Status, SyncAnswer

T = TypeVar("T")


class Client(Base):
    """Calls a daemon, and blocks until it has answered. Threads may share one."""

    def __init__(self, url: str, *, token: str | None = None, secret: str | None = None, tries: int = 5, deadline: float = 30) -> None:
        super().__init__(url, token=token, secret=secret, tries=tries, deadline=deadline)
        self._http = httpx.Client()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._http.close()

    def sync(
        self,
        project: str,
        *,
        created: Iterable[str] = (),
        updated: Iterable[str] = (),
        deleted: Iterable[str] = (),
        wait: float = 0,
        priority: Priority = "interactive",
    ) -> SyncAnswer:
        """Takes over files that are in the source already, and builds. Without any file: whatever differs.

        `wait`: seconds (0 to 60) until the answer, unless it is live or has failed before; a failed build is `"status": "error"`.
        """
        return self._run(self._sync(project, created, updated, deleted, wait, priority))

    def build(self, project: str, *, clean: bool = False, wait: float = 0, priority: Priority = "interactive") -> SyncAnswer:
        """Builds even if nothing changed; `clean` forgets the project's caches first."""
        return self._run(self._build(project, clean, wait, priority))

    def status(self, project: str) -> Status:
        """How the project stands."""
        return self._run(self._status(project))

    def builds(self, project: str, *, limit: int = 50, cursor: str | None = None) -> Page[HistoryBuild]:
        """A page of the history, newest first."""
        return self._run(self._history(project, limit, cursor))

    def logs(self, project: str, *, build: str | None = None) -> str:
        """A build's log so far, the newest build's without `build`."""
        return self._run(self._logs(project, build))

    def follow_logs(self, project: str, *, build: str | None = None) -> Iterator[LogLine]:
        """A build's log, line by line as it comes, to its end."""
        return self._follow(LogFollower(self._settings, project, build))

    def events(self, project: str, *, last_event_id: str | None = None) -> Generator[ProjectEvent, None, None]:
        """What happens to a project, as it happens, without an end: how it stands first, or what came since `last_event_id`."""
        return self._follow(EventFollower(self._settings, project, last_event_id))

    def diagnostics(self, project: str, *, build: str | None = None, max_chars: int = 8000) -> Diagnostics:
        """What is wrong with a build, the newest that ended without `build`, in at most so many characters."""
        return self._run(self._diagnostics(project, build, max_chars))

    def diagnostics_text(self, project: str, *, build: str | None = None, max_chars: int = 8000) -> str:
        """The same as text that is ready for a model's context."""
        return self._run(self._diagnostics_text(project, build, max_chars))

    def env(self, project: str) -> Env:
        """Which variables a project's builds are given, and where its app is."""
        return self._run(self._env(project))

    def set_env(self, project: str, variables: Mapping[str, str] | None = None, *, root: str | None = None) -> EnvAnswer:
        """Sets what a project's builds are given, in place of all that was set before; where that changes anything, it is built."""
        return self._run(self._set_env(project, variables, root))

    def clear_env(self, project: str) -> EnvAnswer:
        """Takes all of it back."""
        return self._run(self._clear_env(project))

    def notify_urls(self, project: str) -> list[str]:
        """Where a project's webhooks go, besides `notify.urls`."""
        return self._run(self._notify(project, None))

    def set_notify_urls(self, project: str, urls: Iterable[str]) -> list[str]:
        """Sets where they go: hosts in `notify.hosts` only. None: nowhere."""
        return self._run(self._notify(project, urls))

    def _follow(self, follower: Follower[T]) -> Generator[T, None, None]:
        request_id = uuid.uuid4().hex
        while True:
            request, timeout = self._stream(follower, request_id)
            outcome: Reply | Lost = ENDED_EARLY
            try:
                with self._http.stream(request.method, request.url, headers=request.headers, timeout=timeout) as response:
                    if response.is_success:
                        follower.opened(response.headers.get("x-previewd-build"))
                        for chunk in response.iter_bytes():
                            yield from follower.feed(chunk)
                    else:
                        outcome = to_reply(response, response.read())
            except httpx.RequestError as error:
                outcome = to_lost(error)
            if follower.ended:
                return
            time.sleep(follower.lost(outcome, request_id))

    def rollback(self, project: str, build_id: str) -> Status:
        """Makes a retained release live again, at once."""
        return self._run(self._rollback(project, build_id))

    def delete(self, project: str) -> bool:
        """Forgets the project and all of it on the daemon's machine, never the source. Whether it was known."""
        return self._run(self._delete(project))

    def projects(self, *, state: str | None = None, q: str | None = None, page_size: int = 100) -> Iterator[Project]:
        """All projects, by name; needs a token."""
        page = self._run(self._projects(page_size, None, state, q))
        yield from page
        while page.next_cursor:
            page = self._run(self._projects(page_size, page.next_cursor, state, q))
            yield from page

    def wait_until_live(self, project: str, revision: int, *, timeout: float = 300) -> Status:
        """Waits until previews show `revision` or a newer one; raises `BuildFailed` or `NotLive`."""
        return self._run(self._wait(project, revision, timeout))

    def _run(self, flow: Flow[T]) -> T:
        outcome: Reply | Lost | None = None
        try:
            while True:
                step = flow.send(outcome)
                if isinstance(step, Send):
                    outcome = self._send(step.request)
                else:
                    time.sleep(step.seconds)
                    outcome = None
        except StopIteration as done:
            return cast(T, done.value)

    def _send(self, request: Request) -> Reply | Lost:
        try:
            response = self._http.request(
                request.method, request.url, headers=request.headers, content=request.body, timeout=request.timeout_s
            )
            return to_reply(response, response.content)
        except httpx.RequestError as error:
            return to_lost(error)
