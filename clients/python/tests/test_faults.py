"""What a client does when the daemon is busy, away, or not what answers: against a server that fails as it is told."""

from __future__ import annotations

import json
import threading
import time
import unittest
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import previewd

from .faces import FACES

SECRET = "a-webhook-secret-of-ours"
LINE = {"time": "2026-01-01T00:00:00Z", "level": "info", "message": "x"}


@dataclass
class Answer:
    """`status` 0: the connection is closed without one."""

    status: int = 200
    body: str = "{}"
    headers: dict[str, str] = field(default_factory=dict)


def problem(status: int, code: str, **headers: str) -> Answer:
    body = json.dumps({"type": f"urn:previewd:{code}", "title": "", "status": status, "detail": "why", "code": code})
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class Server:
    """Gives the answers one after another, the last one again and again; keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        left = list(answers)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                answer = left.pop(0) if len(left) > 1 else left[0]
                if answer.status == 0:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in {"content-length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body.encode())

            do_GET = do_DELETE = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}"


class Faults(unittest.TestCase):
    def each(self, *answers: Answer, act: Callable[[Any, Server], None], **named: Any) -> None:
        for name, face in FACES.items():
            with self.subTest(name), Server(*answers) as server:
                client = face(server.url, **{"secret": SECRET, **named})
                try:
                    act(client, server)
                finally:
                    client.close()

    def test_a_busy_daemon_is_asked_again_and_each_try_is_signed_anew(self) -> None:
        def act(client: Any, server: Server) -> None:
            begun = time.monotonic()
            client.sync("demo", updated=["a.ts"])
            self.assertGreaterEqual(time.monotonic() - begun, 1, "Retry-After")
            self.assertEqual(len(server.seen), 5)
            self.assertEqual(len({headers["x-request-id"] for _, headers, _ in server.seen}), 1, "one call, one id")
            self.assertEqual(len({body for _, _, body in server.seen}), 1)
            self.assertGreater(len({headers["x-previewd-signature"] for _, headers, _ in server.seen}), 1, "a second has passed")

        busy = (problem(503, "source_unavailable", retry_after="1"), problem(429, "queue_full"), Answer(502, "<html>"), Answer(0), Answer())
        self.each(*busy, act=act)

    def test_no_two_builds_have_one_signature(self) -> None:
        def act(client: Any, server: Server) -> None:
            for _ in range(3):
                client.build("demo")
            self.assertEqual(len({headers["x-previewd-signature"] for _, headers, _ in server.seen}), 4)

        self.each(Answer(0), Answer(), act=act)

    def test_what_is_refused_is_not_sent_again(self) -> None:
        kinds: list[tuple[int, str, type[previewd.ApiError]]] = [
            (400, "invalid_path", previewd.Invalid),
            (401, "unauthorized", previewd.Unauthorized),
            (404, "unknown_project", previewd.NotFound),
            (409, "label_taken", previewd.Invalid),
            (413, "body_too_large", previewd.Invalid),
            (500, "internal", previewd.Unavailable),
            (502, "source_denied", previewd.Unavailable),
            (507, "disk", previewd.Unavailable),
        ]
        for status, code, kind in kinds:

            def act(client: Any, server: Server) -> None:
                with self.assertRaises(kind) as caught:
                    client.build("demo")
                error = caught.exception
                self.assertEqual((error.status, error.code, error.detail, error.request_id), (status, code, "why", "the-daemons"))
                self.assertEqual(len(server.seen), 1)

            self.each(problem(status, code, x_request_id="the-daemons"), act=act)

    def test_tries_and_time_are_limited(self) -> None:
        def tries(client: Any, server: Server) -> None:
            with self.assertRaises(previewd.ConnectionFailed) as caught:
                client.status("demo")
            self.assertEqual((len(server.seen), caught.exception.status), (2, 0))

        self.each(Answer(0), act=tries, tries=2)

        def deadline(client: Any, server: Server) -> None:
            begun = time.monotonic()
            with self.assertRaises(previewd.Unavailable) as caught:
                client.status("demo")
            self.assertEqual((len(server.seen), caught.exception.retry_after), (1, 60))
            self.assertLess(time.monotonic() - begun, 5, "no use to wait for what comes too late")

        self.each(problem(503, "draining", retry_after="60"), act=deadline, deadline=10)

    def test_what_is_not_previewd_is_told(self) -> None:
        def act(client: Any, server: Server) -> None:
            with self.assertRaises(previewd.Invalid) as caught:
                client.status("demo")
            self.assertEqual(caught.exception.code, "proxy")

        for answer in (Answer(200, "<html>"), Answer(302, "", {"location": "/login"}), Answer(404, "<html>")):
            self.each(answer, act=act)

    def test_a_deletion_whose_answer_was_lost_ends_well(self) -> None:
        def act(client: Any, server: Server) -> None:
            self.assertFalse(client.delete("demo"))
            self.assertEqual(len(server.seen), 2)

        self.each(Answer(0), problem(404, "unknown_project"), act=act)

    def test_a_log_that_is_cut_is_taken_up_where_it_was(self) -> None:
        def events(*numbers: int) -> str:
            return "".join(f"id: {n}\nevent: log\ndata: {json.dumps({**LINE, 'message': str(n)})}\n\n" for n in numbers)

        def act(client: Any, server: Server) -> None:
            lines = [line["message"] for line in client.follow_logs("demo")]
            self.assertEqual(lines, ["0", "1", "2"])
            self.assertEqual([path for path, _, _ in server.seen], ["/logs/demo?follow=true"] + ["/logs/demo?follow=true&build=01B"] * 2)

        headers = {"x-previewd-build": "01B"}
        half = Answer(200, events(0, 1) + "id: 2\nevent: lo", headers)
        self.each(half, problem(503, "draining"), Answer(200, events(0, 1, 2) + "event: end\ndata: {}\n\n", headers), act=act)

        def refused(client: Any, server: Server) -> None:
            with self.assertRaises(previewd.NotFound):
                list(client.follow_logs("demo"))

        self.each(problem(404, "unknown_project"), act=refused)

    def test_no_use_without_credentials(self) -> None:
        with self.assertRaises(ValueError):
            previewd.Client("http://127.0.0.1:1")
        with self.assertRaises(ValueError):
            list(previewd.Client("http://127.0.0.1:1", secret=SECRET).projects())
        with self.assertRaises(ValueError):
            previewd.Client("http://127.0.0.1:1", secret=SECRET).sync("demo", wait=61)
