"""What the daemon answers, as it answers it. A newer daemon may add keys; none goes away."""

from __future__ import annotations

from typing import Any, Generic, Literal, Optional, TypedDict, TypeVar

Priority = Literal["interactive", "background"]
Scope = Literal["read", "control", "preview"]
State = Literal["queued", "building", "ready", "error", "empty"]
Outcome = Literal["succeeded", "failed", "timed_out", "out_of_memory", "superseded", "cancelled"]


class _Failure(TypedDict):
    kind: Literal["compile", "resolve", "install", "config", "timeout", "memory", "output", "internal"]
    message: str


class Failure(_Failure, total=False):
    """Why a build failed, and where: for a person, or for the model that wrote the code."""

    file: str
    line: int
    column: int
    frame: str


class Timings(TypedDict):
    """Where a build's time went, milliseconds."""

    sync: int
    queued: int
    install: int
    build: int
    publish: int
    total: int


class _Build(TypedDict):
    build_id: str
    revision: int
    outcome: Optional[Outcome]
    mode: Optional[Literal["layered", "plain", "static"]]
    worker: Literal["warm", "cold"]
    layer: Literal["hit", "miss", "none"]
    timings_ms: Timings
    started_at: str


class Build(_Build, total=False):
    """One build."""

    failure: Failure
    warnings: list[str]
    mode_reason: str
    lockfile: str
    spa: bool
    finished_at: str


class _HistoryBuild(Build):
    retained: bool


class HistoryBuild(_HistoryBuild, total=False):
    """A build in the history; `url` is its permalink, where its release is still kept."""

    url: str


class Live(TypedDict):
    """What previews show now."""

    build_id: str
    revision: int
    published_at: str
    url: str


class _Render(TypedDict):
    build_id: str
    verdict: Literal["rendered", "empty", "script_error", "asset_missing", "unknown"]


class Render(_Render, total=False):
    """What browsers saw of the live release."""

    detail: str


class Status(TypedDict):
    """How a project stands."""

    project_id: str
    state: State
    revision: int
    live: Optional[Live]
    last_build: Optional[Build]
    render: Optional[Render]
    preview_url: str


class _SyncAnswer(TypedDict):
    status: Literal["no_changes", "building", "ready", "error"]
    project_id: str
    revision: int
    changes: list[str]
    deleted: list[str]
    ignored: list[str]
    preview_url: str
    status_url: str
    logs_url: str


class SyncAnswer(_SyncAnswer, total=False):
    """The answer to a sync or a build; `build` is there when `wait` was, and the build has ended."""

    build: Optional[Build]


class Project(TypedDict):
    """A row of the list of projects."""

    project_id: str
    state: State
    revision: int
    live_revision: int
    live_build_id: Optional[str]
    preview_url: str


class LogLine(TypedDict):
    """One line of a build's log."""

    time: str
    level: Literal["info", "warn", "error"]
    message: str


DiagnosticCode = Literal[
    "build_compile", "build_resolve", "build_install", "build_config", "build_timeout", "build_memory", "build_output", "build_internal",
    "build_warning", "runtime_error", "unhandled_rejection", "console_error", "resource_failed", "request_failed",
    "render_empty", "render_script_error", "render_asset_missing",
]  # fmt: skip


class _Diagnostic(TypedDict):
    code: DiagnosticCode
    message: str
    count: int


class Diagnostic(_Diagnostic, total=False):
    """Something that is wrong with a build, and where."""

    file: str
    line: int
    column: int
    frame: str
    stack: str


class Diagnostics(TypedDict):
    """All that is known to be wrong with one build, the most telling first; `omitted` had no room."""

    build_id: str
    revision: int
    outcome: Optional[Outcome]
    render: Render
    entries: list[Diagnostic]
    omitted: int


class ProjectEvent(TypedDict):
    """Something that happened to a project. `data` is a `Status`, a log line with its `build_id` and `number`, what was published,
    how a release rendered, or what a page said."""

    name: Literal["status", "log", "published", "render", "console"]
    id: str
    data: dict[str, Any]


class Env(TypedDict):
    """What a project's builds are given besides its sources: names without values, and the app's folder where that was said."""

    names: list[str]
    root: Optional[str]


class EnvAnswer(Env):
    """What was set, and the revision that is built for it."""

    status: Literal["building", "no_changes"]
    revision: int


Row = TypeVar("Row")


class Page(list[Row], Generic[Row]):
    """Rows, and where the next page begins (`None`: this is the last)."""

    def __init__(self, rows: list[Row], next_cursor: str | None) -> None:
        super().__init__(rows)
        self.next_cursor = next_cursor
