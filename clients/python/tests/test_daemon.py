"""Both clients against a running daemon: tests/it/clients.rs starts it and says where it is.

`PREVIEWD_URL`, `PREVIEWD_TOKEN`, `PREVIEWD_SECRET`; `PREVIEWD_SOURCE`: the directory that is its source.
"""

from __future__ import annotations

import os
import unittest
from pathlib import Path
from typing import Any

import httpx

import previewd

from .faces import FACES

URL, TOKEN, SECRET = (os.environ[f"PREVIEWD_{name}"] for name in ("URL", "TOKEN", "SECRET"))
SOURCE = Path(os.environ["PREVIEWD_SOURCE"])


def put(project: str, path: str, text: str) -> None:
    """Writes a file of the source as a chat backend does: before anybody is told of it."""
    target = SOURCE / project / "frontend" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def shown(status: previewd.Status, path: str = "") -> str:
    """What a browser gets of the preview. Names below `localhost` are this machine, which not every resolver knows."""
    url = httpx.URL(status["preview_url"])
    return httpx.get(f"{URL}/{path}", headers={"host": f"{url.host}:{url.port}", "accept": "text/html"}).text


class AgainstTheDaemon(unittest.TestCase):
    face: str

    def setUp(self) -> None:
        self.project = f"python-{self.face}-{self._testMethodName.removeprefix('test_').replace('_', '-')}"[:60].strip("-")
        self.client = FACES[self.face](URL, secret=SECRET)
        self.addCleanup(self.client.close)

    def first(self) -> Any:
        put(self.project, "index.html", "<h1>first</h1>")
        return self.client.sync(self.project, created=["index.html"], wait=30)

    def test_a_turn_of_the_chat(self) -> None:
        first = self.first()
        self.assertEqual((first["status"], first["revision"], first["changes"]), ("ready", 1, ["index.html"]))
        put(self.project, "about.html", "<h1>about</h1>")
        put(self.project, "index.html", "<h1>second</h1>")
        turn = self.client.sync(self.project, created=["about.html"], updated=["index.html"])
        self.assertEqual((turn["status"], turn["revision"]), ("building", 2))
        status = self.client.wait_until_live(self.project, turn["revision"], timeout=30)
        self.assertIn("second", shown(status))
        self.assertIn("about", shown(status, "about.html"))
        (SOURCE / self.project / "frontend/about.html").unlink()
        gone = self.client.sync(self.project, deleted=["about.html"], wait=30)
        self.assertEqual((gone["status"], gone["deleted"]), ("ready", ["about.html"]))
        again = self.client.sync(self.project, deleted=["about.html"], updated=["index.html"])
        self.assertEqual((again["status"], again["revision"]), ("no_changes", gone["revision"]), "repeated, it does nothing")

    def test_a_failed_build_is_data(self) -> None:
        self.first()
        (SOURCE / self.project / "frontend/index.html").unlink()
        put(self.project, "other.txt", "no page")
        failed = self.client.sync(self.project, created=["other.txt"], deleted=["index.html"], wait=30)
        self.assertEqual((failed["status"], failed["build"]["outcome"]), ("error", "failed"))
        self.assertEqual(failed["build"]["failure"]["kind"], "config")
        with self.assertRaises(previewd.BuildFailed) as caught:
            self.client.wait_until_live(self.project, failed["revision"])
        self.assertEqual(caught.exception.failure, failed["build"]["failure"])
        self.assertEqual(self.client.status(self.project)["live"]["revision"], 1, "the last good one stays")

    def test_history_rollback_and_logs(self) -> None:
        old = self.first()["build"]["build_id"]
        put(self.project, "index.html", "<h1>second</h1>")
        self.client.sync(self.project, updated=["index.html"], wait=30)
        newest = self.client.builds(self.project, limit=1)
        self.assertEqual((newest[0]["revision"], newest[0]["retained"]), (2, True))
        older = self.client.builds(self.project, limit=1, cursor=newest.next_cursor)
        self.assertEqual(older[0]["build_id"], old)
        status = self.client.rollback(self.project, old)
        self.assertEqual(status["live"]["build_id"], old)
        self.assertIn("first", shown(status))
        text = self.client.logs(self.project, build=old)
        lines = list(self.client.follow_logs(self.project, build=old))
        self.assertTrue(lines and len(lines) == len(text.splitlines()))
        self.assertIn(lines[-1]["message"], text)
        built = self.client.build(self.project, clean=True, wait=30)
        self.assertEqual((built["status"], built["revision"]), ("ready", 3))
        self.assertEqual([self.client.build(self.project)["revision"] for _ in range(3)], [4, 5, 6], "each in its own right")

    def test_events_and_diagnostics(self) -> None:
        self.first()
        events = self.client.events(self.project)
        status = next(events)
        self.assertEqual((status["name"], status["data"]["revision"]), ("status", 1))
        (SOURCE / self.project / "frontend/index.html").unlink()
        put(self.project, "other.txt", "no page")
        failed = self.client.sync(self.project, created=["other.txt"], deleted=["index.html"], wait=30)
        seen = [event for event, _ in zip(events, range(2))]
        self.assertEqual(seen[0]["name"], "status")
        again = self.client.events(self.project, last_event_id=status["id"])
        self.assertEqual(next(again)["id"], seen[0]["id"], "it goes on where it was")
        found = self.client.diagnostics(self.project)
        self.assertEqual((found["build_id"], found["entries"][0]["code"]), (failed["build"]["build_id"], "build_config"))
        self.assertIn("[build_config]", self.client.diagnostics_text(self.project, max_chars=1000))
        self.assertEqual(self.client.diagnostics(self.project, build=status["data"]["live"]["build_id"])["entries"], [])

    def test_settings(self) -> None:
        early = self.client.set_env(self.project, {"VITE_A": "hidden"}, root=".")
        self.assertEqual((early["status"], early["names"], early["root"]), ("no_changes", ["VITE_A"], ""))
        self.first()
        self.assertEqual(self.client.env(self.project), {"names": ["VITE_A"], "root": ""})
        cleared = self.client.clear_env(self.project)
        self.assertEqual((cleared["status"], cleared["revision"], cleared["names"]), ("building", 2, []))
        with self.assertRaises(previewd.Invalid) as caught:
            self.client.set_env(self.project, {"PATH": "hidden"})
        self.assertNotIn("hidden", str(caught.exception))
        self.assertEqual(self.client.set_notify_urls(self.project, ["https://chat.example/hook"]), ["https://chat.example/hook"])
        self.assertEqual(self.client.notify_urls(self.project), ["https://chat.example/hook"])
        with self.assertRaises(previewd.Invalid):
            self.client.set_notify_urls(self.project, ["https://elsewhere.example/"])
        self.assertEqual(self.client.set_notify_urls(self.project, []), [])

    def test_credentials(self) -> None:
        self.first()
        browser = httpx.get(f"{URL}/status/{self.project}", params={"token": self.client.token(self.project, ttl=60)}, headers={"origin": "https://chat.example"})
        self.assertEqual((browser.status_code, browser.headers["access-control-allow-origin"]), (200, "*"))
        elsewhere = httpx.get(f"{URL}/status/other", params={"token": self.client.token(self.project)})
        self.assertEqual((elsewhere.status_code, elsewhere.json()["code"]), (401, "unauthorized"))
        for credentials in ({"secret": "a-secret-that-nobody-has"}, {"token": "a-token-that-nobody-has"}):
            stranger = FACES[self.face](URL, **credentials)
            self.addCleanup(stranger.close)
            with self.assertRaises(previewd.Unauthorized) as caught:
                stranger.sync(self.project, updated=["index.html"])
            self.assertEqual((caught.exception.status, caught.exception.code), (401, "unauthorized"))

    def test_lists_and_deletion(self) -> None:
        self.first()
        operator = FACES[self.face](URL, token=TOKEN)
        self.addCleanup(operator.close)
        self.assertEqual([row["project_id"] for row in operator.projects(q=self.project)], [self.project])
        everything = [row["project_id"] for row in operator.projects(page_size=1)]
        self.assertEqual((everything, len(set(everything))), (sorted(everything), len(everything)))
        self.assertIs(self.client.delete(self.project), True)
        self.assertIs(self.client.delete(self.project), False)
        with self.assertRaises(previewd.NotFound) as caught:
            self.client.status(self.project)
        self.assertEqual(caught.exception.code, "unknown_project")
        self.assertTrue(caught.exception.request_id)


class Blocking(AgainstTheDaemon):
    face = "blocking"


class Asyncio(AgainstTheDaemon):
    face = "asyncio"


del AgainstTheDaemon
