"""Edits of one copy of an app, as a model's turn would make them: each leaves a text that was never there before."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apps
from processes import BenchError


@dataclass
class Edit:
    """The text that shows it, and the files that it changed."""

    text: str
    files: list[str]

    def body(self) -> dict:
        """What the webhook says."""
        return {"changed_files": [{"path": path, "type": "frontend"} for path in self.files]}


class Edits:
    """All kinds of edits of the copy at `root`. Written aside and renamed, so that no reader meets half a file."""

    def __init__(self, app: apps.App, root: Path) -> None:
        self.app, self.root = app, root
        self.added = 0

    def text(self) -> str:
        """What the start page shows now."""
        return f"edition {self._number(self.app.page, 'edition')}"

    def component(self) -> Edit:
        return self._change(self.app.page, "edition")

    def css(self) -> Edit:
        return self._change(self.app.css, "styled")

    def config(self) -> Edit:
        return self._change(self.app.config, "configured")

    def new_file(self) -> Edit:
        number, text = self._next()
        extras = Path(self.app.extras)
        name = f"Note{number}"
        file = extras.with_name(f"{name}{extras.suffix}")
        self._write(str(file), self.app.component_text(name, text))
        line = f"import {name} from './{file.name}';" if self.app.vue() else f"import {{ {name} }} from './{name}';"
        return Edit(text, [str(file), self._extras(line, f"<{name} />")])

    def new_import(self) -> Edit:
        number, text = self._next()
        if number > len(self.app.imports):
            raise BenchError(f"{self.app.title}: no import is left that is new (--runs is at most {len(self.app.imports)} here)")
        return Edit(text, [self._extras(self.app.imports[number - 1], shown(text))])

    def new_dependency(self) -> Edit:
        number, text = self._next()
        if number > len(apps.ADDITIONS):
            raise BenchError(f"no dependency is left that is new (--runs is at most {len(apps.ADDITIONS)} here)")
        name = list(apps.ADDITIONS)[number - 1]
        apps.add_dependencies(self.root, [name])
        extras = self._extras(f"import * as thing from '{name}';", shown(text))
        return Edit(text, ["package.json", "pnpm-lock.yaml", extras])

    def _extras(self, imports: str, inside: str) -> str:
        self._write(self.app.extras, self.app.extras_text(imports, inside))
        return self.app.extras

    def _next(self) -> tuple[int, str]:
        self.added += 1
        return self.added, f"added {self.added}"

    def _change(self, path: str, word: str) -> Edit:
        number = self._number(path, word)
        text = f"{word} {number + 1}"
        self._write(path, (self.root / path).read_text().replace(f"{word} {number}", text))
        return Edit(text, [path])

    def _number(self, path: str, word: str) -> int:
        found = re.search(rf"\b{word} (\d+)", (self.root / path).read_text())
        if not found:
            raise BenchError(f"{self.root / path} has no {word!r} with a number")
        return int(found[1])

    def _write(self, path: str, text: str) -> None:
        file = self.root / path
        aside = file.with_name(f".{file.name}.tmp")
        aside.write_text(text)
        os.replace(aside, file)


def shown(text: str) -> str:
    """Uses the import, so that no bundler drops it."""
    return f"{text} {{{{Object.keys(thing).length}}}}"


KINDS: dict[str, Callable[[Edits], Edit]] = {
    "component": Edits.component,
    "css": Edits.css,
    "config": Edits.config,
    "new-file": Edits.new_file,
    "new-import": Edits.new_import,
    "new-dependency": Edits.new_dependency,
}
