"""What is sent, when it is sent again, and what an answer means: the part that both clients share. No I/O.

A call is a generator. It yields what is to be done, `Send` or `Pause`, gets back what came of it, and returns the result;
`Client` and `AsyncClient` each know how to send and how to pause, and nothing else.

Invariant: a call is sent again only where that is harmless. A sync does what follows from the source alone, so a second one finds
nothing to do; a rollback and a deletion end the same however often they come; a build is at worst made once more.
"""

from __future__ import annotations

import email.utils
import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union
from urllib.parse import quote, urlencode

from ._errors import ApiError, BuildFailed, ConnectionFailed, Invalid, NotFound, NotLive, Unauthorized, Unavailable
from ._signing import SIGNATURE_HEADER, mint_token, sign
from ._types import Page, Priority, Scope, Status

#: A token that a call mints for itself is valid so long, seconds.
OWN_TOKEN_TTL_S = 60
#: Longest `wait` of a sync or build, seconds: the daemon's limit.
WAIT_MAX_S = 60
#: What an answer may take beyond the `wait` that it was asked for, seconds.
ANSWER_S = 30
#: The pause before the second try is up to this, doubled with each further one, up to the other; seconds.
BACKOFF_FIRST_S = 0.25
BACKOFF_MAX_S = 8.0
#: Between two looks at a status, from and to; seconds.
POLL_FIRST_S = 0.1
POLL_MAX_S = 2.0
NOT_OURS = "the answer is not previewd's: what is at this address, or in front of it?"
RETRIED = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Request:
    """One try, ready to be sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    #: How long to wait for the connection and for each part of the answer, seconds.
    timeout_s: float


@dataclass(frozen=True)
class Send:
    """Send this; answer with a `Reply` or, where none came, with `Lost`."""

    request: Request


@dataclass(frozen=True)
class Pause:
    """Do nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Lost:
    """No answer, and why."""

    why: str


T = TypeVar("T")
Flow = Generator[Union[Send, Pause], Union[Reply, Lost, None], T]


@dataclass(frozen=True)
class Call:
    """One call of the API, whatever the number of tries."""

    method: str
    path: str
    scope: Scope
    project: str | None = None
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    signable: bool = False
    #: A signature of it is taken once. One second's signatures of the same bytes are the same, so each try gets a nonce.
    once: bool = False
    accept: str = "application/json"
    #: How long the daemon was asked to wait before it answers, seconds.
    wait_s: float = 0


@dataclass(frozen=True)
class Settings:
    """Where the daemon is, what opens it, and how patient calls are."""

    url: str
    token: str | None
    secret: str | None
    #: Tries of one call at most.
    tries: int
    #: No try begins later than so long after the call did, beyond the `wait` that it asked for; seconds.
    deadline_s: float
    clock: Callable[[], float] = time.monotonic
    jitter: Callable[[float, float], float] = random.uniform

    def request(self, call: Call, request_id: str, timeout_s: float) -> Request:
        """A try of `call`: with a signature or a token of this moment."""
        signed = self.secret is not None and call.signable
        query = {**call.query, "nonce": uuid.uuid4().hex} if signed and call.once else call.query
        path = call.path + (f"?{urlencode(query)}" if query else "")
        body = b"" if call.body is None else json.dumps(call.body).encode()
        headers = {"accept": call.accept, "x-request-id": request_id}
        if call.body is not None:
            headers["content-type"] = "application/json"
        if self.secret is not None and call.signable:
            headers[SIGNATURE_HEADER] = sign(self.secret, call.method, path, body)
        elif self.token is not None:
            headers["authorization"] = f"Bearer {self.token}"
        elif self.secret is not None and call.project is not None:
            headers["authorization"] = f"Bearer {mint_token(self.secret, call.project, call.scope, OWN_TOKEN_TTL_S)}"
        else:
            raise ValueError("a call on all projects needs a token: a secret opens single projects")
        return Request(call.method, self.url + path, headers, body, timeout_s)


def perform(settings: Settings, call: Call) -> Flow[Reply]:
    """Sends a call until it is answered, refused for good, or out of time."""
    request_id = uuid.uuid4().hex
    over = settings.clock() + settings.deadline_s + call.wait_s
    tried = 0
    while True:
        left = max(over - settings.clock(), 0.001)
        outcome = yield Send(settings.request(call, request_id, min(left, ANSWER_S + call.wait_s)))
        assert outcome is not None, "a request is answered or lost"
        tried += 1
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return outcome
        error = failure(outcome, request_id)
        pause = pause_after(error, tried, settings.jitter)
        if pause is None or tried >= settings.tries or settings.clock() + pause > over:
            raise error
        yield Pause(pause)


def pause_after(error: ApiError | ConnectionFailed, tried: int, jitter: Callable[[float, float], float]) -> float | None:
    """How long to wait before the next try; `None`: do not try again.

    Exponential with full jitter. `Retry-After` is a floor under it, so that callers who were sent away together come back apart.
    """
    backoff = jitter(0, min(BACKOFF_FIRST_S * 2 ** (tried - 1), BACKOFF_MAX_S))
    if isinstance(error, ConnectionFailed):
        return backoff
    # A 502 of the daemon's own says that the source refuses it or is set up wrongly: minutes would not help.
    if error.status not in RETRIED or (error.status == 502 and error.code != "proxy"):
        return None
    return (error.retry_after or 0) + backoff


def failure(outcome: Reply | Lost, request_id: str) -> ApiError | ConnectionFailed:
    """The error that an answer is."""
    if isinstance(outcome, Lost):
        return ConnectionFailed(outcome.why, request_id)
    status = outcome.status
    try:
        problem = outcome.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "proxy", NOT_OURS
    kind: type[ApiError] = Invalid
    if status == 429 or status >= 500:
        kind = Unavailable
    elif status == 401:
        kind = Unauthorized
    elif status == 404:
        kind = NotFound
    return kind(status, code, detail, outcome.headers.get("x-request-id", request_id), retry_after(outcome.headers))


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """`Retry-After` in seconds: a number of them, or a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - (time.time() if now is None else now))


# The calls.


def project_path(call: str, project: str) -> str:
    return f"/{call}/{quote(project, safe='')}"


def change(call: str, project: str, body: dict[str, Any], wait: float, priority: Priority) -> Call:
    """A sync or a build."""
    if not 0 <= wait <= WAIT_MAX_S:
        raise ValueError(f"wait is 0 to {WAIT_MAX_S} seconds")
    body = {**body, "wait_ms": int(wait * 1000), "priority": priority}
    return Call("POST", project_path(call, project), "control", project, body=body, signable=True, once=call == "build", wait_s=wait)


def sync(project: str, created: Iterable[str], updated: Iterable[str], deleted: Iterable[str], wait: float, priority: Priority) -> Call:
    files: list[dict[str, Any]] = [{"path": path} for path in (*created, *updated)]
    files += [{"path": path, "deleted": True} for path in deleted]
    return change("sync-project", project, {"changed_files": files} if files else {}, wait, priority)


def diagnostics(project: str, build: str | None, max_chars: int, accept: str) -> Call:
    query = {"max_chars": str(max_chars), **({"build": build} if build else {})}
    return Call("GET", project_path("diagnostics", project), "read", project, query, accept=accept)


def parsed(settings: Settings, call: Call) -> Flow[Any]:
    reply = yield from perform(settings, call)
    try:
        return reply.json()
    except ValueError:
        raise Invalid(reply.status, "proxy", NOT_OURS, reply.headers.get("x-request-id", "")) from None


def text(settings: Settings, call: Call) -> Flow[str]:
    reply = yield from perform(settings, call)
    return reply.body.decode()


def page(settings: Settings, call: Call, name: str) -> Flow[Page[Any]]:
    answer = yield from parsed(settings, call)
    return Page(answer[name], answer["next_cursor"])


def deletion(settings: Settings, project: str) -> Flow[bool]:
    """Whether the project was known. After a lost answer the second try finds it gone."""
    try:
        yield from perform(settings, Call("DELETE", project_path("projects", project), "control", project))
    except NotFound as error:
        if error.code != "unknown_project":
            raise
        return False
    return True


def wait_until_live(settings: Settings, project: str, revision: int, timeout: float) -> Flow[Status]:
    """Looks until `live.revision >= revision`; raises `BuildFailed` where that will not come, `NotLive` where time is over."""
    over = settings.clock() + timeout
    pause = POLL_FIRST_S
    while True:
        status: Status = yield from parsed(settings, Call("GET", project_path("status", project), "read", project))
        if status["live"] is not None and status["live"]["revision"] >= revision:
            return status
        if status["state"] in ("ready", "error") and status["revision"] >= revision:
            raise BuildFailed(status)
        if settings.clock() + pause > over:
            raise NotLive(f"revision {revision} of {project} is not live after {timeout} s: it is {status['state']}")
        yield Pause(settings.jitter(pause / 2, pause))
        pause = min(pause * 2, POLL_MAX_S)
