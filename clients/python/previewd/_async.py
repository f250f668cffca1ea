"""The client for asyncio: how it sends and how it pauses. What is sent and when is in `_calls.py`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import TypeVar, cast

import httpx

from ._base import ENDED_EARLY, Base, to_lost, to_reply
from ._calls import Flow, Lost, Reply, Request, Send
from ._events import EventFollower, Follower, LogFollower
from ._types import Diagnostics, Env, EnvAnswer, HistoryBuild, LogLine, Page, Priority, Project, ProjectEvent, Status, SyncAnswer

T = TypeVar("T")


class AsyncClient(Base):
    """Calls a daemon, within asyncio. Tasks may share one; every method does what `Client`'s of the same name does."""

    def __init__(self, url: str, *, token: str | None = None, secret: str | None = None, tries: int = 5, deadline: float = 30) -> None:
        super().__init__(url, token=token, secret=secret, tries=tries, deadline=deadline)
        self._http = httpx.AsyncClient()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def sync(
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
        return await self._run(self._sync(project, created, updated, deleted, wait, priority))

    async def build(self, project: str, *, clean: bool = False, wait: float = 0, priority: Priority = "interactive") -> SyncAnswer:
        return await self._run(self._build(project, clean, wait, priority))

    async def status(self, project: str) -> Status:
        return await self._run(self._status(project))

    async def builds(self, project: str, *, limit: int = 50, cursor: str | None = None) -> Page[HistoryBuild]:
        return await self._run(self._history(project, limit, cursor))

    async def logs(self, project: str, *, build: str | None = None) -> str:
        return await self._run(self._logs(project, build))

    async def follow_logs(self, project: str, *, build: str | None = None) -> AsyncIterator[LogLine]:
        """A build's log, line by line as it comes, to its end."""
        async for line in self._follow(LogFollower(self._settings, project, build)):
            yield line

    async def events(self, project: str, *, last_event_id: str | None = None) -> AsyncGenerator[ProjectEvent, None]:
        async for event in self._follow(EventFollower(self._settings, project, last_event_id)):
            yield event

    async def diagnostics(self, project: str, *, build: str | None = None, max_chars: int = 8000) -> Diagnostics:
        return await self._run(self._diagnostics(project, build, max_chars))

    async def diagnostics_text(self, project: str, *, build: str | None = None, max_chars: int = 8000) -> str:
        return await self._run(self._diagnostics_text(project, build, max_chars))

    async def env(self, project: str) -> Env:
        return await self._run(self._env(project))

    async def set_env(self, project: str, variables: Mapping[str, str] | None = None, *, root: str | None = None) -> EnvAnswer:
        return await self._run(self._set_env(project, variables, root))

    async def clear_env(self, project: str) -> EnvAnswer:
        return await self._run(self._clear_env(project))

    async def notify_urls(self, project: str) -> list[str]:
        return await self._run(self._notify(project, None))

    async def set_notify_urls(self, project: str, urls: Iterable[str]) -> list[str]:
        return await self._run(self._notify(project, urls))

    async def _follow(self, follower: Follower[T]) -> AsyncGenerator[T, None]:
        request_id = uuid.uuid4().hex
        while True:
            request, timeout = self._stream(follower, request_id)
            outcome: Reply | Lost = ENDED_EARLY
            try:
                async with self._http.stream(request.method, request.url, headers=request.headers, timeout=timeout) as response:
                    if response.is_success:
                        follower.opened(response.headers.get("x-previewd-build"))
                        async for chunk in response.aiter_bytes():
                            for line in follower.feed(chunk):
                                yield line
                    else:
                        outcome = to_reply(response, await response.aread())
            except httpx.RequestError as error:
                outcome = to_lost(error)
            if follower.ended:
                return
            await asyncio.sleep(follower.lost(outcome, request_id))

    async def rollback(self, project: str, build_id: str) -> Status:
        return await self._run(self._rollback(project, build_id))

    async def delete(self, project: str) -> bool:
        return await self._run(self._delete(project))

    async def projects(self, *, state: str | None = None, q: str | None = None, page_size: int = 100) -> AsyncIterator[Project]:
        page = await self._run(self._projects(page_size, None, state, q))
        for row in page:
            yield row
        while page.next_cursor:
            page = await self._run(self._projects(page_size, page.next_cursor, state, q))
            for row in page:
                yield row

    async def wait_until_live(self, project: str, revision: int, *, timeout: float = 300) -> Status:
        return await self._run(self._wait(project, revision, timeout))

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Reply | Lost | None = None
        try:
            while True:
                step = flow.send(outcome)
                if isinstance(step, Send):
                    outcome = await self._send(step.request)
                else:
                    await asyncio.sleep(step.seconds)
                    outcome = None
        except StopIteration as done:
            return cast(T, done.value)

    async def _send(self, request: Request) -> Reply | Lost:
        try:
            response = await self._http.request(
                request.method, request.url, headers=request.headers, content=request.body, timeout=request.timeout_s
            )
            return to_reply(response, response.content)
        except httpx.RequestError as error:
            return to_lost(error)
