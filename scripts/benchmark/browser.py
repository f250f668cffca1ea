"""Chromium with one page, driven through tests/browser/driver.mjs."""

import json
import subprocess
from pathlib import Path

from processes import BenchError, clean_env, end, start

CLOSE_MAX_S = 10


class Browser:
    """A browser of its own, with nothing in its cache."""

    def __init__(self, repository: Path, tools: Path, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        driver = repository / "tests/browser/driver.mjs"
        self.log = home / "browser.log"
        with self.log.open("a") as log:
            # What Chromium leaves in its temporary directory goes with everything else.
            self.process = start(["node", driver, tools], clean_env(TMPDIR=str(home)), subprocess.PIPE, errors=log, stdin=subprocess.PIPE)
        try:
            # Its first answer says that it has started.
            self._call("problems")
        except BaseException:
            end(self.process)
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        # The driver closes Chromium at the end of its input.
        self.process.stdin.close()
        try:
            self.process.wait(CLOSE_MAX_S)
        except subprocess.TimeoutExpired:
            end(self.process)

    def goto(self, url: str) -> None:
        self._call("goto", url=url)

    def reload(self) -> None:
        self._call("reload")

    def see(self, text: str) -> None:
        """Waits until the page shows the text; at most 30 s."""
        self._call("see", selector="body", text=text)

    def _call(self, command: str, **options: str) -> None:
        self.process.stdin.write(json.dumps({"command": command, **options}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line or "error" in (answer := json.loads(line)):
            raise BenchError(f"browser, {command} {options}: {answer['error'] if line else self.log.read_text()[-2000:]}")
