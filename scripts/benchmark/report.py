"""The outcome for people (Markdown) and for comparisons over time (JSON)."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from measure import Result, Sample, cpu_median, median, p95, phase_medians


def markdown(results: list[Result], machine: dict) -> str:
    lines = [
        f"previewd {machine['commit']} on {machine['cores']} cores, {machine['date']} (load {machine['load']:.1f} at the start)",
        "",
        "| case | n | previewd median | p95 | CPU | naive median | p95 | CPU | times faster |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for result in results:
        cells = [result.title, str(len(result.previewd))]
        cells += [ms(value) for side in (result.previewd, result.naive) for value in (median(side), p95(side), cpu_median(side))]
        lines.append(f"| {' | '.join(cells)} | {result.ratio():.1f} |")
    lines += ["", "Times in ms; p95 by nearest rank, so with few runs it is the slowest. The pairs were run A B A B. On a busy machine "
        "CPU (median, until idle) compares better than the wait.", ""]
    for result in results:
        lines.append(f"- **{result.title}**: {result.measures}. Beside: `{result.naive_is}`.{phases(result)}")
    return "\n".join(lines)


def ms(value: float) -> str:
    return f"{value:.1f}" if value < 20 else f"{value:,.0f}"


def phases(result: Result) -> str:
    def listed(samples: list[Sample]) -> str:
        return ", ".join(f"{name} {ms(value)}" for name, value in phase_medians(samples).items() if value >= 0.5)

    sides = [(name, listed(samples)) for name, samples in (("previewd", result.previewd), ("naive", result.naive))]
    return "".join(f" {name}: {text}." for name, text in sides if text)


def write_json(path: Path, results: list[Result], machine: dict) -> None:
    cases = {result.key: as_json(result) for result in results}
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps({"machine": machine, "unit": "ms", "cases": cases}, indent=1) + "\n")
    aside.replace(path)


def as_json(result: Result) -> dict:
    sides = {"previewd": result.previewd, "naive": result.naive}
    figures = {
        name: {
            "median": round(median(samples), 2),
            "p95": round(p95(samples), 2),
            "cpu": round(cpu_median(samples), 2),
            "phases": {phase: round(value, 2) for phase, value in phase_medians(samples).items()},
            "samples": [round(sample.ms, 2) for sample in samples],
            "cpu_samples": [round(sample.cpu, 2) for sample in samples],
        }
        for name, samples in sides.items()
    }
    about = {"title": result.title, "measures": result.measures, "naive_is": result.naive_is, "load_before": result.load_before}
    return about | {"times_faster": round(result.ratio(), 2)} | figures


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
