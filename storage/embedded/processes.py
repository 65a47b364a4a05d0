"""Processes that are known by pid and start time: a pid alone may be somebody else's by now."""

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals

from storage.embedded.accounts import Account, identity

PROC = Path("/proc")
ENVIRONMENT = {"PATH": os.defpath, "TZ": "UTC"}  # no PGPORT, PGOPTIONS … of whoever starts us
STEP_SECONDS = 0.01


def started(pid: int) -> str | None:
    """When process `pid` began, in units of its kernel; None when it is dead, reaped or not."""
    if not (PROC / "self").exists():
        return _started_by_ps(pid)
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _started_by_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=", "-o", "lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ours
    state, _, since = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else since.strip()


def names(pid: int, path: Path) -> bool:
    """Whether `path` is among the arguments of the live process `pid`."""
    with suppress(OSError):
        arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        return os.fsencode(path) in arguments
    return False


def spawn(
    command: Sequence[str], account: Account | None, *, folder: Path, log: int, hold: int
) -> int:
    """Start `command` in a session of its own and return its pid; it inherits the lock `hold`."""
    process = _popen(command, account, folder, log, hold)
    process.returncode = 0  # known by pid from here on, like an adopted one: no Popen to wait for
    return process.pid


def run(
    command: Sequence[str], account: Account | None, *, folder: Path, log: int, hold: int
) -> int:
    """Run `command` to its end and return its status; it inherits the lock `hold`."""
    with _popen(command, account, folder, log, hold) as process:
        return process.wait()


def _popen(
    command: Sequence[str], account: Account | None, folder: Path, log: int, hold: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  a binary of ours with arguments of ours
        command,
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[hold],
        start_new_session=True,  # Ctrl-C is for the owner, who drains before it ends them
        umask=0o077,
        **identity(account),
    )


def end(pid: int, since: str, signals: Sequence[Signals], patience_seconds: float = 10.0) -> None:
    """Send each of `signals` in turn until the process is gone."""
    for number in signals:
        if started(pid) == since:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if _gone(pid, since, patience_seconds):
            break
    reap(pid)


def reap(pid: int) -> None:
    """Let the kernel forget a dead child; nothing happens to a process that is not ours."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _gone(pid: int, since: str, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while started(pid) == since:
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_SECONDS)
    return True
