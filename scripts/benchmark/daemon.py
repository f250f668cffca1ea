"""previewd as its callers see it: a process on a free port, webhooks over HTTP, previews read as a browser would."""

import contextlib
import http.client
import json
import re
import shutil
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from measure import Clock, Sample
from processes import BenchError, clean_env, end, start
from tree import Tree

START_MAX_S = 30
BUILD_MAX_MS = 60_000
ANSWER_MAX_S = 90
# As many builds as one page of the history holds.
HISTORY = 500
# Scripts and styles of a preview that are searched for a text.
FILES_MAX = 40
LINK = re.compile(r"""["'](/?[\w@./-]+\.(?:m?js|css))["']""")
# What projects share is searched for no project's text.
SHARED = "/_previewd/"


class Daemon:
    """One daemon on a data directory of its own. `env` is added to its environment."""

    def __init__(self, binary: Path, home: Path, env: dict[str, str] | None = None) -> None:
        self.home = home
        self.data = home / "data"
        self.log = home / "previewd.log"
        home.mkdir(parents=True, exist_ok=True)
        (self.data / "listen").unlink(missing_ok=True)
        settings = {"PREVIEWD__SERVER__LISTEN": "127.0.0.1:0", "PREVIEWD__SERVER__DATA_DIR": str(self.data)}
        with self.log.open("a") as log:
            self.process = start([binary, "serve"], clean_env(**settings, **(env or {})), log)
        try:
            self.address = self._wait_for_start()
        except BaseException:
            end(self.process)
            raise
        self.token = (self.data / "token").read_text().strip()
        self.tree = Tree(self.process.pid)

    def _wait_for_start(self) -> str:
        deadline = time.monotonic() + START_MAX_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if (self.data / "listen").exists() and " listens " in self.log.read_text():
                return (self.data / "listen").read_text().strip()
            time.sleep(0.02)
        raise BenchError(f"previewd did not start:\n{self.log.read_text()[-3000:]}")

    def __enter__(self) -> "Daemon":
        self.tree.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.tree.__exit__()
        end(self.process)

    def source(self, project: str) -> Path:
        """Where the embedded source keeps a project's files."""
        return self.data / "source" / project / "frontend"

    def synced(self, project: str) -> Path:
        """Where the daemon keeps its copy of them."""
        return self.data / "projects" / project / "frontend"

    def live(self, project: str) -> Path:
        """The live release's files."""
        return (self.data / "projects" / project / "dist").resolve()

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        status, text = self._send(method, path, headers, json.dumps(body) if body is not None else None)
        if status >= 300:
            raise BenchError(f"{method} {path}: {status} {text.decode(errors='replace')[:1000]}")
        return json.loads(text) if text else {}

    def _send(self, method: str, path: str, headers: dict, body: str | None = None) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(self.address, timeout=ANSWER_MAX_S)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()

    def sync(self, project: str, **body: object) -> dict:
        return self.call("POST", f"/sync-project/{project}", body)

    def webhook_to_live(self, project: str, text: str, **body: object) -> Sample:
        """As `to_live`, and then waits until the daemon is idle again; with the CPU time until then."""
        cpu = self.tree.cpu_ms()
        sample = self.to_live(project, text, **body)
        sample.cpu = self.settle(cpu)
        return sample

    def to_live(self, project: str, text: str, **body: object) -> Sample:
        """From sending the webhook until the served preview was read and holds `text`."""
        clock = Clock()
        answer = self.sync(project, wait_ms=BUILD_MAX_MS, **body)
        answered = clock.ms()
        if answer["status"] != "ready":
            raise BenchError(f"{project} did not become ready: {json.dumps(answer, indent=1)[:2000]}")
        self.find_in_preview(answer["preview_url"], text)
        ms = clock.ms()
        build = answer["build"]
        parts = {name: build["timings_ms"][name] for name in ("sync", "queued", "install", "build", "publish")}
        phases = parts | {"other": answered - sum(parts.values()), "reading": ms - answered}
        return Sample(ms, 0, phases, build["mode"], build["worker"])

    def status(self, project: str) -> dict:
        return self.call("GET", f"/status/{project}")

    def builds(self, project: str, after: int) -> list[dict]:
        """The finished builds of later revisions than `after`."""
        history = self.call("GET", f"/builds/{project}?limit={HISTORY}")["builds"]
        return [build for build in history if build["revision"] > after and build["outcome"]]

    def forget(self, project: str) -> None:
        """The project and its sources are gone; what it shared with others stays."""
        self.call("DELETE", f"/projects/{project}")
        shutil.rmtree(self.source(project).parent)

    def find_in_preview(self, url: str, text: str) -> None:
        """Reads the page and what it loads, as a browser would, until `text` is found."""
        host = urlsplit(url).netloc
        seen, todo = {url}, [url]
        while todo and len(seen) <= FILES_MAX:
            at = todo.pop(0)
            status, body = self._send("GET", urlsplit(at).path, {"Host": host})
            content = body.decode(errors="replace")
            if status != 200:
                raise BenchError(f"GET {at}: {status}")
            if text in content:
                return
            found = [urljoin(at, link) for link in LINK.findall(content) if not link.startswith(SHARED)]
            fresh = [link for link in dict.fromkeys(found) if link not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        raise BenchError(f"{url} does not show {text!r}")

    def settle(self, cpu_before: float) -> float:
        """Waits until nothing is left to do; the CPU time since `cpu_before`, in ms."""
        self.tree.wait_until_idle()
        return self.tree.cpu_ms() - cpu_before

    def wait_built(self, project: str) -> None:
        """Waits until the newest revision was built and all work after it is done."""
        deadline = time.monotonic() + BUILD_MAX_MS / 1000
        while (status := self.status(project))["state"] not in ("ready", "error"):
            if time.monotonic() > deadline:
                raise BenchError(f"{project} is still {status['state']}")
            time.sleep(0.02)
        self.tree.wait_until_idle()
