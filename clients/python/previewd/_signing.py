"""Signatures and project tokens: HMAC-SHA256 with a webhook secret. Pure, but for the clock."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence

from ._errors import SignatureError
from ._types import Scope, Status

SIGNATURE_HEADER = "x-previewd-signature"
#: How far apart the clocks of sender and receiver may be, seconds.
TOLERANCE_S = 300


def _mac(secret: str, time_s: str, method: str, path_and_query: str, body: bytes) -> str:
    text = f"{time_s}.{method}.{path_and_query}.".encode() + body
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def sign(secret: str, method: str, path_and_query: str, body: bytes, *, now: float | None = None) -> str:
    """The value of `X-Previewd-Signature`."""
    time_s = str(int(time.time() if now is None else now))
    return f"t={time_s},v1={_mac(secret, time_s, method, path_and_query, body)}"


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    path: str,
    method: str = "POST",
    now: float | None = None,
) -> Status:
    """Checks a webhook that the daemon sent, and gives the status object in it; else raises `SignatureError`.

    `body` as it came, before any parsing. `path` is the path and query that it came to, as on the request line. Several secrets
    may be valid at once, so that they can rotate. The same webhook may come twice: act on its contents, which say how things stand.
    """
    header = next((value for name, value in headers.items() if name.lower() == SIGNATURE_HEADER), "")
    parts = dict(part.strip().partition("=")[::2] for part in header.split(","))
    time_s, given = parts.get("t", ""), parts.get("v1", "")
    if not (time_s.isascii() and time_s.isdigit() and len(time_s) <= 12):
        raise SignatureError("the signature has no time")
    if abs((time.time() if now is None else now) - int(time_s)) > TOLERANCE_S:
        raise SignatureError("the signature is too old, or from the future")
    secrets = [secret] if isinstance(secret, str) else secret
    # Every secret is tried, each in constant time.
    matches = [hmac.compare_digest(_mac(one, time_s, method, path, body).encode(), given.lower().encode()) for one in secrets]
    if not any(matches):
        raise SignatureError("the signature does not fit")
    status: Status = json.loads(body)
    return status


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mint_token(secret: str, project: str, scope: Scope = "read", ttl: float = 3600, *, now: float | None = None) -> str:
    """A token (JWT, HS256) that opens one project for `ttl` seconds: `read` for a front end, `preview` for a private preview."""
    if ttl <= 0:
        raise ValueError("ttl is more than 0")
    exp = int((time.time() if now is None else now) + ttl)
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": project, "scope": scope, "exp": exp})
    signed = ".".join(_part(json.dumps(part, separators=(",", ":")).encode()) for part in parts)
    return f"{signed}.{_part(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"
