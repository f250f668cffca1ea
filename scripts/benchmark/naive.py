"""What a user would write instead: `pnpm install --frozen-lockfile && vite build` in the project's folder.

Install scripts are not run, as previewd runs none: pnpm would end with an error for those that nobody approved.
"""

import shutil
from pathlib import Path

from measure import Clock, Sample
from processes import BenchError, clean_env, own_children_cpu_ms, run


class Naive:
    """A fresh copy of the app, beside a pnpm store that stays and that all copies share; all below `home`."""

    def __init__(self, home: Path, app: Path, name: str = "project") -> None:
        self.home = home
        self.dir = home / name
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.copytree(app, self.dir)
        # A clone is a repository of its own. Without this mark, Tailwind would find the repository that we are in, which ignores
        # target/; then it scans node_modules too, takes five times as long and writes four times the CSS.
        (self.dir / ".git").mkdir()

    def forget_dependencies(self) -> None:
        """The store stays filled, the project is as freshly cloned."""
        shutil.rmtree(self.dir / "node_modules", ignore_errors=True)
        shutil.rmtree(self.dir / "dist", ignore_errors=True)

    def env(self) -> dict[str, str]:
        folders = {f"XDG_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
        # A lost DNS answer holds pnpm for the resolver's 5 s. previewd gives its pnpm this setting, so the naive side gets it too:
        # what is compared is the work, not the luck with the name server.
        return clean_env(CI="1", NO_COLOR="1", RES_OPTIONS="timeout:1 attempts:5", **folders)

    def install(self) -> None:
        command = ["pnpm", "install", "--frozen-lockfile", "--ignore-scripts", "--store-dir", str(self.home / "store")]
        run(command, self.dir, self.env())

    def run(self, text: str) -> Sample:
        """From the start of the install to the end of the build; then its output must hold `text`. Nothing is served or published."""
        cpu, clock = own_children_cpu_ms(), Clock()
        self.install()
        installed = clock.ms()
        run(["node_modules/.bin/vite", "build"], self.dir, self.env())
        ms = clock.ms()
        if not any(text in file.read_text() for file in (self.dir / "dist").rglob("*") if file.suffix in (".js", ".css")):
            raise BenchError(f"the naive build does not hold {text!r}")
        return Sample(ms, own_children_cpu_ms() - cpu, {"install": installed, "build": ms - installed})

    def css_bytes(self) -> int:
        return css_bytes(self.dir / "dist")


def css_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*.css"))
