"""What both clients have: settings, the calls as generators, and httpx's answers as replies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from . import _calls as calls
from ._calls import Call, Flow, Lost, Reply, Request, Settings
from ._events import SILENCE_S, Follower
from ._signing import mint_token
from ._types import Diagnostics, Env, EnvAnswer, HistoryBuild, Page, Priority, Project, Scope, Status, SyncAnswer

#: A stream that ends without saying that it does was cut on its way.
ENDED_EARLY = Lost("the stream ended early")


class Base:
    """What both have: settings, and calls that need no connection."""

    def __init__(self, url: str, *, token: str | None = None, secret: str | None = None, tries: int = 5, deadline: float = 30) -> None:
        """`secret`: one of `auth.webhook_secrets`, enough for every call on one project. `token`: one of `auth.tokens`, for
        `projects()` too. `deadline`: no try of a call begins later than so many seconds after the call, beyond its `wait`.
        """
        if token is None and secret is None:
            raise ValueError("a token or a secret is needed")
        self._settings = Settings(url.rstrip("/"), token, secret, tries, deadline)

    def token(self, project: str, scope: Scope = "read", ttl: float = 3600) -> str:
        """A token that opens one project for `ttl` seconds: `read` for a front end, `preview` for a private preview."""
        if self._settings.secret is None:
            raise ValueError("a token is signed with a webhook secret, and this client has none")
        return mint_token(self._settings.secret, project, scope, ttl)

    def _sync(
        self, project: str, created: Iterable[str], updated: Iterable[str], deleted: Iterable[str], wait: float, priority: Priority
    ) -> Flow[SyncAnswer]:
        return calls.parsed(self._settings, calls.sync(project, created, updated, deleted, wait, priority))

    def _build(self, project: str, clean: bool, wait: float, priority: Priority) -> Flow[SyncAnswer]:
        return calls.parsed(self._settings, calls.change("build", project, {"clean": clean}, wait, priority))

    def _delete(self, project: str) -> Flow[bool]:
        return calls.deletion(self._settings, project)

    def _wait(self, project: str, revision: int, timeout: float) -> Flow[Status]:
        return calls.wait_until_live(self._settings, project, revision, timeout)

    def _history(self, project: str, limit: int, cursor: str | None) -> Flow[Page[HistoryBuild]]:
        query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
        return calls.page(self._settings, Call("GET", calls.project_path("builds", project), "read", project, query), "builds")

    def _projects(self, limit: int, cursor: str | None, state: str | None, q: str | None) -> Flow[Page[Project]]:
        named = {"cursor": cursor, "state": state, "q": q}
        query = {"limit": str(limit), **{name: value for name, value in named.items() if value}}
        return calls.page(self._settings, Call("GET", "/projects", "read", None, query), "projects")

    def _status(self, project: str) -> Flow[Status]:
        return calls.parsed(self._settings, Call("GET", calls.project_path("status", project), "read", project))

    def _logs(self, project: str, build: str | None) -> Flow[str]:
        query = {"build": build} if build else {}
        return calls.text(self._settings, Call("GET", calls.project_path("logs", project), "read", project, query, accept="text/plain"))

    def _rollback(self, project: str, build_id: str) -> Flow[Status]:
        call = Call("POST", calls.project_path("rollback", project), "control", project, body={"build_id": build_id})
        return calls.parsed(self._settings, call)

    def _diagnostics(self, project: str, build: str | None, max_chars: int) -> Flow[Diagnostics]:
        return calls.parsed(self._settings, calls.diagnostics(project, build, max_chars, "application/json"))

    def _diagnostics_text(self, project: str, build: str | None, max_chars: int) -> Flow[str]:
        return calls.text(self._settings, calls.diagnostics(project, build, max_chars, "text/plain"))

    def _env(self, project: str) -> Flow[Env]:
        return calls.parsed(self._settings, Call("GET", calls.project_path("env", project), "control", project))

    def _set_env(self, project: str, variables: Mapping[str, str] | None, root: str | None) -> Flow[EnvAnswer]:
        body = {"vars": dict(variables or {}), **({} if root is None else {"root": root})}
        return calls.parsed(self._settings, Call("PUT", calls.project_path("env", project), "control", project, body=body))

    def _clear_env(self, project: str) -> Flow[EnvAnswer]:
        return calls.parsed(self._settings, Call("DELETE", calls.project_path("env", project), "control", project))

    def _notify(self, project: str, urls: Iterable[str] | None) -> Flow[list[str]]:
        """With `urls`: sets them."""
        method, body = ("GET", None) if urls is None else ("PUT", {"urls": list(urls)})
        answer = yield from calls.parsed(self._settings, Call(method, calls.project_path("notify", project), "control", project, body=body))
        return list(answer["urls"])

    def _stream(self, follower: Follower[Any], request_id: str) -> tuple[Request, httpx.Timeout]:
        request = self._settings.request(follower.call(), request_id, calls.ANSWER_S)
        return request, httpx.Timeout(request.timeout_s, read=SILENCE_S)


def to_reply(response: httpx.Response, body: bytes) -> Reply:
    return Reply(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def to_lost(error: httpx.RequestError) -> Lost:
    return Lost(f"{type(error).__name__}: {error}")


