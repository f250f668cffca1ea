"""Calls previewd from a chat backend.

    with previewd.Client("http://127.0.0.1:8080", secret="…") as client:
        answer = client.sync("demo", created=["src/New.tsx"], updated=["src/App.tsx"], wait=30)

`Client` blocks, `AsyncClient` does the same with `await`; both drive what `_calls.py` decides. Signatures and tokens are made
and checked without a connection: `mint_token`, `sign`, `verify_webhook`.
"""

from ._async import AsyncClient
from ._client import Client
from ._errors import ApiError, BuildFailed, ConnectionFailed, Invalid, NotFound, NotLive, PreviewdError, SignatureError, Unauthorized, Unavailable
from ._signing import mint_token, sign, verify_webhook
from ._types import Build, Diagnostic, DiagnosticCode, Diagnostics, Env, EnvAnswer, Failure, HistoryBuild, Live, LogLine, Page, Priority, Project
from ._types import ProjectEvent, Render, Scope, Status, SyncAnswer

__all__ = [
    "ApiError",
    "AsyncClient",
    "Build",
    "BuildFailed",
    "Client",
    "ConnectionFailed",
    "Diagnostic",
    "DiagnosticCode",
    "Diagnostics",
    "Env",
    "EnvAnswer",
    "Failure",
    "HistoryBuild",
    "Invalid",
    "Live",
    "LogLine",
    "NotFound",
    "NotLive",
    "Page",
    "PreviewdError",
    "Priority",
    "Project",
    "ProjectEvent",
    "Render",
    "Scope",
    "SignatureError",
    "Status",
    "SyncAnswer",
    "Unauthorized",
    "Unavailable",
    "mint_token",
    "sign",
    "verify_webhook",
]
