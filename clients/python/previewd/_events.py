"""Server-Sent Events: a log and a project followed over lost connections. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from ._calls import Call, Lost, Reply, Settings, failure, pause_after, project_path
from ._types import LogLine, ProjectEvent

Item = TypeVar("Item", covariant=True)

#: A build may be silent so long, seconds: longer than an install and a build together take at most, as configured by default.
SILENCE_S = 450.0


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    id: str
    data: str


class EventParser:
    """Puts the bytes of a stream together to events (WHATWG HTML, "Server-sent events").

    Lines end at `\\n` or `\\r\\n` alone: `str.splitlines`, and httpx with it, would cut at U+2028 too, which JSON may hold.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Takes what came; the events that it completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode(errors="replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> Event | None:
        if not line:
            event = Event(self._name or "message", self._id, "\n".join(self._data)) if self._data else None
            self._name, self._data = "", []
            return event
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id":
            self._id = value
        return None


class Follower(Protocol[Item]):
    """A stream that is opened again where it breaks off."""

    @property
    def ended(self) -> bool: ...

    def call(self) -> Call: ...

    def opened(self, build: str | None) -> None: ...

    def feed(self, chunk: bytes) -> Iterator[Item]: ...

    def lost(self, outcome: Reply | Lost, request_id: str) -> float: ...


class EventFollower:
    """Follows what happens to a project, without an end. A stream that breaks off, because the daemon restarts or a token ran out, is
    opened again with the id of the last event: the daemon goes on from there, or tells how the project stands."""

    ended = False

    def __init__(self, settings: Settings, project: str, last_event_id: str | None) -> None:
        self.settings = settings
        self.project = project
        self._last = last_event_id
        self._lost = 0
        self._parser = EventParser()

    def call(self) -> Call:
        """What opens the stream, this time."""
        self._parser = EventParser()
        query = {"last_event_id": self._last} if self._last else {}
        return Call("GET", project_path("events", self.project), "read", self.project, query, accept="text/event-stream")

    def opened(self, build: str | None) -> None:
        """The stream is open."""
        self._lost = 0

    def feed(self, chunk: bytes) -> Iterator[ProjectEvent]:
        """Takes what came of the stream; the events that it completes."""
        for event in self._parser.feed(chunk):
            self._last = event.id
            yield cast(ProjectEvent, {"name": event.name, "id": event.id, "data": json.loads(event.data)})

    def lost(self, outcome: Reply | Lost, request_id: str) -> float:
        """The stream broke off, or was refused: how long to wait before it is opened again; raises where that is no use."""
        self._lost += 1
        return pause_or_raise(self.settings, outcome, request_id, self._lost)


def pause_or_raise(settings: Settings, outcome: Reply | Lost, request_id: str, lost: int) -> float:
    error = failure(outcome, request_id)
    pause = pause_after(error, lost, settings.jitter)
    if pause is None or lost >= settings.tries:
        raise error
    return pause


class LogFollower:
    """Follows one build's log to its end. A proxy may cut a stream that is silent: then it is opened again, for the same build,
    and the lines that were seen already are passed over."""

    def __init__(self, settings: Settings, project: str, build: str | None) -> None:
        self.settings = settings
        self.project = project
        self.ended = False
        self._build = build
        self._seen = -1
        self._lost = 0
        self._parser = EventParser()

    def call(self) -> Call:
        """What opens the stream, this time."""
        self._parser = EventParser()
        query = {"follow": "true", **({"build": self._build} if self._build else {})}
        return Call("GET", project_path("logs", self.project), "read", self.project, query, accept="text/event-stream")

    def opened(self, build: str | None) -> None:
        """The stream is open; the daemon says of which build."""
        self._build = build or self._build

    def feed(self, chunk: bytes) -> Iterator[LogLine]:
        """Takes what came of the stream; the lines of the log that are new."""
        for event in self._parser.feed(chunk):
            if event.name == "end":
                self.ended = True
            elif event.name == "log" and int(event.id) > self._seen:
                self._seen, self._lost = int(event.id), 0
                yield json.loads(event.data)

    def lost(self, outcome: Reply | Lost, request_id: str) -> float:
        """The stream broke off, or was refused: how long to wait before it is opened again; raises where that is no use."""
        self._lost += 1
        return pause_or_raise(self.settings, outcome, request_id, self._lost)
