"""Vite's own dev server with HMR, in a folder whose dependencies are installed."""

import time
import urllib.error
import urllib.request

from front import free_address
from naive import Naive
from processes import BenchError, end, start
from tree import Tree

START_MAX_S = 30


class DevServer:
    """On a free port; `url` answers when this is made."""

    def __init__(self, side: Naive) -> None:
        host, port = free_address().split(":")
        self.url = f"http://{host}:{port}/"
        self.log = side.home / "dev.log"
        command = ["node_modules/.bin/vite", "--host", host, "--port", port, "--strictPort"]
        with self.log.open("w") as log:
            self.process = start(command, side.env(), log, side.dir)
        self.tree = Tree(self.process.pid)
        try:
            self._wait_for_start()
        except BaseException:
            end(self.process)
            raise

    def _wait_for_start(self) -> None:
        deadline = time.monotonic() + START_MAX_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                # Not the page: what it would have transformed already would not be measured.
                urllib.request.urlopen(f"{self.url}@vite/client", timeout=START_MAX_S).close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.02)
        raise BenchError(f"Vite's dev server did not start:\n{self.log.read_text()[-2000:]}")

    def __enter__(self) -> "DevServer":
        self.tree.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.tree.__exit__()
        end(self.process)
