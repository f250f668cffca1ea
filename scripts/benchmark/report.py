"""The outcome for people (Markdown) and for comparisons over time (JSON)."""

import json
import os
import platform
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from measure import Result, Sample, cpu_median, median, p95, phase_medians


TIMES_NOTE = (
    "Times in ms; p95 by nearest rank, so with fewer than 20 runs it is the slowest. The sides were run in turn. On a busy machine CPU "
    "(median, until idle) compares better than the wait. Mode and worker: how previewd says that it built."
)


def markdown(results: list[Result], machine: dict) -> str:
    lines = [f"previewd {machine['commit']} on {machine['cores']} cores, {machine['date']} (load {machine['load']:.1f} at the start)", ""]
    parts = [times([result for result in results if result.timed()]), figures(results), meanings(results), failures(results)]
    return "\n\n".join(["\n".join(lines).strip(), *(part for part in parts if part)])


def table(columns: str, rows: list[list[str]]) -> str:
    """The first two columns are text."""
    names = columns.split(" | ")
    align = ["---", "---", *["--:"] * (len(names) - 2)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [names, align, *rows])


def times(results: list[Result]) -> str:
    if not results:
        return ""
    rows = []
    for result in results:
        cells = [result.title, result.app, str(len(result.previewd))]
        cells += [ms(value) for side in (result.previewd, result.beside) for value in (median(side), p95(side), cpu_median(side))]
        goal = f"{result.at_least:g}" if result.at_least else ""
        how = [counted([getattr(sample, name) for sample in result.previewd]) for name in ("mode", "worker")]
        rows.append([*cells, f"{result.ratio():.1f}", goal, *how])
    columns = "case | app | n | previewd median | p95 | CPU | beside median | p95 | CPU | times faster | at least | mode | worker"
    return f"{table(columns, rows)}\n\n{TIMES_NOTE}"


def counted(words: list[str]) -> str:
    """`layered`, or `layered 4, plain 1`."""
    count = Counter(word for word in words if word)
    return next(iter(count)) if len(count) == 1 else ", ".join(f"{word} {n}" for word, n in count.most_common())


def figures(results: list[Result]) -> str:
    rows = [
        [result.title, result.app, figure.what, number(figure.previewd, figure.unit), number(figure.beside, figure.unit), number(figure.at_most, figure.unit)]
        for result in results
        for figure in result.figures
    ]
    return table("case | app | figure | previewd | beside | at most", rows) if rows else ""


def number(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}".strip() if value >= 100 or value == int(value) else f"{value:.1f} {unit}".strip()


def meanings(results: list[Result]) -> str:
    """What each case measures, and where its time went, by app."""
    lines = []
    for case in dict.fromkeys(result.case for result in results):
        of_case = [result for result in results if result.case == case]
        first = of_case[0]
        lines.append(f"- **{first.title}**: {first.measures}. Beside: `{first.beside_is}`.")
        lines += [f"  - {result.app}:{text}" for result in of_case if (text := phases(result))]
    return "\n".join(lines)


def failures(results: list[Result]) -> str:
    return "\n".join(f"- FAILED: {result.title}, {result.app}: {result.failure[:500]}" for result in results if result.failure)


def ms(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def phases(result: Result) -> str:
    def listed(samples: list[Sample]) -> str:
        return ", ".join(f"{name} {ms(value)}" for name, value in phase_medians(samples).items() if value >= 0.5)

    sides = [(name, listed(samples)) for name, samples in (("previewd", result.previewd), ("beside", result.beside))]
    return "".join(f" {name}: {text}." for name, text in sides if text)


def write_json(path: Path, results: list[Result], machine: dict) -> None:
    cases = {f"{result.case}/{result.app}": as_json(result) for result in results}
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({"machine": machine, "unit": "ms", "cases": cases}, indent=1) + "\n")
    aside.replace(path)


def as_json(result: Result) -> dict:
    told = {name: getattr(result, name) for name in ("title", "app", "measures", "beside_is", "load_before", "at_least", "failure")}
    if result.timed():
        told |= {"times_faster": round(result.ratio(), 2), "previewd": side(result.previewd), "beside": side(result.beside)}
    return told | {"figures": [vars(figure) for figure in result.figures]}


def side(samples: list[Sample]) -> dict:
    return {
        "median": round(median(samples), 2),
        "p95": round(p95(samples), 2),
        "cpu": round(cpu_median(samples), 2),
        "phases": {phase: round(value, 2) for phase, value in phase_medians(samples).items()},
        "samples": [rounded(vars(sample)) for sample in samples],
    }


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return round(value, 2) if isinstance(value, float) else value


def machine(repository: Path) -> dict:
    def tell(*command: str) -> str:
        done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout.strip().partition("\n")[0]

    changed = " with changes" if tell("git", "status", "--porcelain", "--untracked-files=no", "src", "Cargo.lock") else ""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": tell("git", "rev-parse", "--short", "HEAD") + changed,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "node": tell("node", "--version"),
        "pnpm": tell("pnpm", "--version"),
        "rclone": tell("rclone", "--version"),
    }
