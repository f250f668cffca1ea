"""Child processes: bounded in time, each in a process group of its own, none left behind."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

# A command that takes longer has failed: the slowest figure here is a cold install.
COMMAND_MAX_S = 180
STOP_MAX_S = 30
# A process is idle when it used no more CPU than this within a look's length.
IDLE_LOOK_S = 0.25
IDLE_CPU_TICKS = 1
IDLE_MAX_S = 60
# What must not leak from the caller's shell into either side.
PRIVATE_ENV = ("PREVIEWD", "AZURE_", "RCLONE_", "npm_", "NPM_", "PNPM_")


class BenchError(Exception):
    """Something that makes the figures worthless; told without a stack."""


def clean_env(**extra: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PRIVATE_ENV)}
    return env | extra


def run(command: list[str], cwd: Path, env: dict[str, str]) -> str:
    """Runs a command to its end; its output is the answer, or part of the error."""
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
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


def cpu_ticks(pid: int) -> int:
    """CPU time of a process, all its threads, and its children that have ended, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def cpu_ms(pid: int) -> float:
    return cpu_ticks(pid) * 1000 / os.sysconf("SC_CLK_TCK")


def own_children_cpu_ms() -> float:
    """CPU time of all commands that were run to their end so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000


def wait_until_idle(pid: int) -> None:
    """Waits for a daemon's work after the answer (compression, clean-up): it must not fall on the other side's measurement."""
    deadline = time.monotonic() + IDLE_MAX_S
    before = cpu_ticks(pid)
    while time.monotonic() < deadline:
        time.sleep(IDLE_LOOK_S)
        now = cpu_ticks(pid)
        if now - before <= IDLE_CPU_TICKS:
            return
        before = now
    raise BenchError(f"process {pid} was still busy after {IDLE_MAX_S} s")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
