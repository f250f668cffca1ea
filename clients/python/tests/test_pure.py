"""Signatures, tokens, back-off and event streams, without a daemon."""

from __future__ import annotations

import base64
import email.utils
import json
import unittest
from typing import Any

import previewd
from previewd import _calls
from previewd._events import Event, EventParser

SECRET = "a-webhook-secret-of-ours"
PATH = "/hook?x=1"
BODY = b'{"project_id":"demo"}'


class Signatures(unittest.TestCase):
    def test_the_signature_is_the_documented_one(self) -> None:
        # printf '1.POST./sync-project/demo.{}' | openssl dgst -sha256 -hmac a-webhook-secret-of-ours
        documented = "cd2cafaba98776a110175a7d44cf2666f7bd56600a546ce2ab482c752979d403"
        self.assertEqual(previewd.sign(SECRET, "POST", "/sync-project/demo", b"{}", now=1.9), f"t=1,v1={documented}")

    def test_webhooks_are_verified(self) -> None:
        signed = {"X-Previewd-Signature": previewd.sign(SECRET, "POST", PATH, BODY, now=1000)}
        for now in (700, 1300):
            self.assertEqual(previewd.verify_webhook(signed, BODY, ["another", SECRET], path=PATH, now=now)["project_id"], "demo")
        bent: list[dict[str, Any]] = [
            dict(headers=signed, body=BODY + b" "),
            dict(path="/hook"),
            dict(method="PUT"),
            dict(secret="another"),
            dict(secret=[]),
            dict(now=699),
            dict(now=1301),
            dict(headers={}),
            *(dict(headers={"x-previewd-signature": value}) for value in ("", "t=1000", "t=,v1=", "t=1e3,v1=00", "t=1000,v1=ü")),
        ]
        for change in bent:
            arguments: dict[str, Any] = {"headers": signed, "body": BODY, "secret": SECRET, "path": PATH, "now": 1000, **change}
            with self.subTest(change), self.assertRaises(previewd.SignatureError):
                previewd.verify_webhook(**arguments)

    def test_tokens_say_what_they_open(self) -> None:
        header, claims, _ = (part + "=" * (-len(part) % 4) for part in previewd.mint_token(SECRET, "demo", "preview", 60, now=1000.5).split("."))
        self.assertEqual(json.loads(base64.urlsafe_b64decode(header)), {"alg": "HS256", "typ": "JWT"})
        self.assertEqual(json.loads(base64.urlsafe_b64decode(claims)), {"sub": "demo", "scope": "preview", "exp": 1060})
        with self.assertRaises(ValueError):
            previewd.mint_token(SECRET, "demo", ttl=0)


class Backoff(unittest.TestCase):
    def pause(self, status: int, tried: int = 1, retry_after: float | None = None, code: str = "proxy") -> float | None:
        """With the most jitter that there is."""
        return _calls.pause_after(previewd.ApiError(status, code, "", "", retry_after), tried, lambda _, most: most)

    def test_it_doubles_up_to_a_limit(self) -> None:
        self.assertEqual([self.pause(503, tried) for tried in (1, 2, 3, 9)], [0.25, 0.5, 1.0, 8.0])
        self.assertEqual(_calls.pause_after(previewd.ConnectionFailed("", ""), 2, lambda least, _: least), 0)

    def test_what_is_tried_again(self) -> None:
        tried_again = [status for status in range(300, 600) if self.pause(status) is not None]
        self.assertEqual(tried_again, [429, 502, 503, 504])
        self.assertIsNone(self.pause(502, code="source_denied"))

    def test_retry_after_is_a_floor(self) -> None:
        self.assertEqual(self.pause(429, retry_after=3), 3.25)
        self.assertEqual(_calls.retry_after({"retry-after": " 7 "}), 7)
        self.assertEqual(_calls.retry_after({"retry-after": email.utils.formatdate(1005, usegmt=True)}, now=1000), 5)
        self.assertEqual(_calls.retry_after({"retry-after": email.utils.formatdate(1, usegmt=True)}, now=1000), 0)
        for nonsense in ("", "soon", "-1", "1.5"):
            self.assertIsNone(_calls.retry_after({"retry-after": nonsense}), nonsense)


class Streams(unittest.TestCase):
    def test_events_are_put_together_however_they_are_cut(self) -> None:
        stream = ': hello\nid: 3\nevent: log\ndata: {"a":"ü\u2028"}\ndata: x\n\nretry: 1\n\ndata:end\r\n\r\n'.encode()
        expected = [Event("log", "3", '{"a":"ü\u2028"}\nx'), Event("message", "3", "end")]
        for size in (1, 2, 7, len(stream)):
            parser = EventParser()
            chunks = (stream[at : at + size] for at in range(0, len(stream), size))
            self.assertEqual([event for chunk in chunks for event in parser.feed(chunk)], expected, size)
