"""What can go wrong. A failed build is none of it, except where a call promises that a revision is live."""

from __future__ import annotations

from ._types import Failure, Status


class PreviewdError(Exception):
    """Everything that this package raises on purpose."""


class ApiError(PreviewdError):
    """The daemon, or a proxy in front of it, refused a call.

    `code` is stable (docs/INTEGRATING.md lists all); `proxy` where the answer was not the daemon's. `retry_after` is in seconds.
    """

    def __init__(self, status: int, code: str, detail: str, request_id: str, retry_after: float | None = None) -> None:
        super().__init__(f"{detail} ({code}, status {status}, request {request_id})")
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.retry_after = retry_after


class Invalid(ApiError):
    """The request is not one that can be done (4xx): sending it again changes nothing."""


class Unauthorized(Invalid):
    """401: token, signature or project token; also a clock that is more than 300 s off."""


class NotFound(Invalid):
    """404: no such project, or no such build."""


class Unavailable(ApiError):
    """429 or 5xx, still after all tries: the same call may succeed after `retry_after`, or when an operator has acted."""


class ConnectionFailed(PreviewdError):
    """No answer, after all tries. The call may have been done all the same."""

    status = 0
    code = "connection"

    def __init__(self, detail: str, request_id: str) -> None:
        super().__init__(f"{detail} (request {request_id})")
        self.detail = detail
        self.request_id = request_id


class BuildFailed(PreviewdError):
    """A revision was awaited, and it will not go live: its build failed, or a rollback came in between."""

    def __init__(self, status: Status) -> None:
        build = status["last_build"]
        self.status = status
        self.failure: Failure | None = build.get("failure") if build else None
        told = f"{self.failure['kind']}: {self.failure['message']}" if self.failure else f"the project is {status['state']}"
        super().__init__(f"revision {status['revision']} of {status['project_id']} did not go live: {told}")


class NotLive(PreviewdError):
    """A revision was awaited, and time was over first."""


class SignatureError(PreviewdError):
    """A webhook is not from who it should be, not whole, or too old."""
