"""The apps that are built: where they come from, and which of their files an edit of each kind changes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from processes import BenchError, clean_env, run

# Packages without dependencies of their own that no app has: one more of them is a new dependency set. As in the npm registry.
ADDITIONS = {
    "dayjs": ("1.11.23", "sha512-QDTCU0M0MxR3hQfnlDJfwekQiaanm1ubOD231u73WBckQ/fsamwRLiE2GBz6D3a/xF1NgfiDLJjXBa1hYOYTtQ=="),
    "ms": ("2.1.3", "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="),
    "slugify": ("1.6.9", "sha512-vZ7rfeehZui7wQs438JXBckYLkIIdfHOXsaVEUMyS5fHo1483l1bMdo0EDSWYclY0yZKFOipDy4KHuKs6ssvdg=="),
    "fuse.js": ("7.5.0", "sha512-sQtrEfA+ez/3G0cCZecF70oqpCRttCexYUG4mUrtWL49ULUzUyxokt5kyqwtKzj1270RaKih+hcP3qLcumccow=="),
    "pluralize": ("8.0.0", "sha512-Nc3IT5yHzflTfbjgqWcCPpo7DaKy4FnpB0l/zCAW0Tc7jxAiuqSxHasntB3D7887LSrA93kDJ9IXovxJYxyLCA=="),
    "js-cookie": ("3.0.8", "sha512-yeJd4aNAdYZQjaon2bpD/Gb0B/omw7HQOsynXXcOiWVCacbBcPlgn8S/d1X6blFSaHao7ozqtW7NZW19xpCtIw=="),
    "canvas-confetti": ("1.9.4", "sha512-yxQbJkAVrFXWNbTUjPqjF7G+g6pDotOUHGbkZq2NELZUMDpiJ85rIEazVb8GTaAptNW2miJAXbs1BtioA251Pw=="),
}
# Modules of date-fns, which every app has, that no app imports.
DATES = [f"date-fns/{name}" for name in ("addWeeks", "addYears", "endOfDay", "getDayOfYear", "isLeapYear", "nextFriday", "startOfWeek", "subMonths")]


@dataclass(frozen=True)
class App:
    """The texts `edition 0`, `styled 0`, `configured 0` and `added 0` occur once each: in `page`, `css`, `config` and `extras`."""

    key: str
    title: str
    page: str
    css: str
    extras: str
    # Statements that import what is installed and what nothing of the app imports so far, as the name `thing`.
    imports: tuple[str, ...]
    config: str = "vite.config.ts"

    def make(self, repository: Path, into: Path) -> Path:
        """Writes the app; the folder."""
        run(["node", str(repository / "scripts/bench-apps" / self.key / "generate.mjs"), str(into)], repository, clean_env())
        for file, text in ((self.page, "edition 0"), (self.css, "styled 0"), (self.config, "configured 0"), (self.extras, "added 0")):
            if (into / file).read_text().count(text) != 1:
                raise BenchError(f"{self.title}: {text!r} is not once in {file}")
        (into / ".gitignore").write_text("node_modules\ndist\n")
        return into

    def vue(self) -> bool:
        return self.extras.endswith(".vue")

    def extras_text(self, imports: str, shown: str) -> str:
        """What `extras` holds with these imports; `shown` may be text, an element, or text with `{{thing}}` in it."""
        if self.vue():
            return f'<script setup lang="ts">\n{imports}\n</script>\n\n<template>\n  <p class="extras">{shown}</p>\n</template>\n'
        return f'{imports}\n\nexport const Extras = () => <p className="text-xs">{shown.replace("{{", "{").replace("}}", "}")}</p>;\n'

    def component_text(self, name: str, shown: str) -> str:
        """A new component with styles of its own."""
        if self.vue():
            return f"<template>\n  <b>{shown}</b>\n</template>\n\n<style scoped>\nb {{\n  letter-spacing: 0.02em;\n}}\n</style>\n"
        return f'export const {name} = () => <b className="font-bold tracking-wide">{shown}</b>;\n'


def imported(names: list[str]) -> tuple[str, ...]:
    return tuple(f"import * as thing from '{name}';" for name in names)


# Interface components that the shadcn-like app has and uses nowhere, each with a package that nothing else imports.
UNUSED = ["hover-card", "menubar", "calendar", "carousel", "input-otp", "context-menu", "slider", "accordion", "resizable", "progress"]

APPS = {
    app.key: app
    for app in (
        App(
            "reference",
            "reference (Vite 8, React 19, Tailwind 4)",
            page="src/areas/overview/OverviewPage.tsx",
            css="src/index.css",
            extras="src/extras.tsx",
            imports=imported(["zustand/middleware", "zod/mini", *DATES]),
        ),
        App(
            "shadcn",
            "shadcn-like (Vite 5, React 18, Tailwind 3)",
            page="src/areas/overview/OverviewPage.tsx",
            css="src/index.css",
            extras="src/extras.tsx",
            imports=imported([*(f"@/components/ui/{name}" for name in UNUSED), *DATES]),
        ),
        App("vue", "Vue (Vite 7)", page="src/pages/HomePage.vue", css="src/main.css", extras="src/Extras.vue", imports=imported(DATES)),
    )
}


def copy(source: Path, into: Path) -> Path:
    shutil.copytree(source, into)
    return into


def add_dependencies(root: Path, names: list[str]) -> None:
    """Writes packages of `ADDITIONS` into package.json and pnpm-lock.yaml, as `pnpm add` would."""
    manifest = json.loads((root / "package.json").read_text())
    manifest["dependencies"] |= {name: ADDITIONS[name][0] for name in names}
    (root / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
    lock = (root / "pnpm-lock.yaml").read_text()
    for name in names:
        version, integrity = ADDITIONS[name]
        lock = after(lock, "\n    dependencies:\n", f"      {name}:\n        specifier: {version}\n        version: {version}\n")
        lock = after(lock, "\npackages:\n\n", f"  {name}@{version}:\n    resolution: {{integrity: {integrity}}}\n\n")
        lock = after(lock, "\nsnapshots:\n\n", f"  {name}@{version}: {{}}\n\n")
    (root / "pnpm-lock.yaml").write_text(lock)


def after(text: str, heading: str, more: str) -> str:
    if heading not in text:
        raise BenchError(f"the lockfile has no {heading!r}")
    return text.replace(heading, heading + more, 1)
