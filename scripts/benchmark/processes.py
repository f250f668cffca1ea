"""Child processes: bounded in time, each in a process group of its own, none left behind."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

# A command that takes longer has failed: the slowest figure here is a cold install.
COMMAND_MAX_S = 180
STOP_MAX_S = 30
# What must not leak from the caller's shell into either side.
PRIVATE_ENV = ("PREVIEWD", "AZURE_", "RCLONE_", "npm_", "NPM_", "PNPM_")


class BenchError(Exception):
    """Something that makes the figures worthless; told without a stack."""


def clean_env(**extra: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE_ENV)}
    return env | extra


Stream = IO[str] | int | None


def start(
    command: Sequence[str | Path], env: dict[str, str], output: Stream, cwd: Path | None = None, errors: Stream = subprocess.STDOUT, stdin: Stream = subprocess.DEVNULL
) -> subprocess.Popen:
    """Starts a command in a session of its own. Whoever starts it ends it."""
    return subprocess.Popen(command, cwd=cwd, env=env, stdin=stdin, stdout=output, stderr=errors, text=True, start_new_session=True)


def run(command: list[str], cwd: Path, env: dict[str, str]) -> str:
    """Runs a command to its end; its output is the answer, or part of the error."""
    process = start(command, env, subprocess.PIPE, cwd)
    try:
        output, _ = process.communicate(timeout=COMMAND_MAX_S)
    except BaseException:
        end(process, signal.SIGKILL)
        raise
    if process.returncode != 0:
        raise BenchError(f"{' '.join(command)} failed with {process.returncode}:\n{output[-3000:]}")
    return output


def end(process: subprocess.Popen, how: signal.Signals = signal.SIGTERM) -> None:
    """Ends a child with its group; by force when it does not go."""
    for sign in (how, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            continue


def end_descendants() -> list[int]:
    """Ends by force whatever of ours still runs; which processes that were."""
    left = descendants(os.getpid())
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return left


def descendants(pid: int) -> list[int]:
    """All processes below this one, in no order that matters."""
    found, todo = [], [pid]
    while todo:
        below = children(todo.pop())
        found += below
        todo += below
    return found


def children(pid: int) -> list[int]:
    """Of all its threads."""
    try:
        return [int(child) for listed in Path(f"/proc/{pid}/task").glob("*/children") for child in listed.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_ms(pid: int) -> float:
    """CPU time of a process and of those below it that it awaited."""
    return sum(map(int, stat_fields(pid)[11:15])) * 1000 / os.sysconf("SC_CLK_TCK")


def own_children_cpu_ms() -> float:
    """CPU time of all commands that were run to their end so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
