"""File locks: the kernel releases them however their holder dies."""

import fcntl
import os
import time
from pathlib import Path

from tenancy.errors import Misconfigured

BRIEF = "brief"
PATIENCE_SECONDS = 30.0  # a passing command may be in its first initdb, on a busy disk


class DataDirectoryInUse(Misconfigured):
    """The data directory is in use by another process."""


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """A descriptor that holds the lock of `path` until it is closed; None when it is taken.

    A child that is given the descriptor holds the lock, too.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise Misconfigured(f"{path} belongs to another account.") from error
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def own(data_dir: Path, *, brief: bool = False) -> int:
    """The lock of the one owner of `data_dir`; a *brief* owner is waited for, others are not.

    Raises `DataDirectoryInUse`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (descriptor := try_lock(data_dir / "lock")) is None:
        pid, _, stay = (data_dir / "lock").read_text().partition(" ")
        is_passing = stay == BRIEF or not pid  # without a pid: it is about to write it
        if not is_passing or time.monotonic() > deadline:
            raise DataDirectoryInUse(f"{data_dir} is in use by process {pid or 'unknown'}.")
        time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} {BRIEF if brief else ''}".strip().encode())
    return descriptor


def disown(descriptor: int) -> None:
    """Release what `own` took."""
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


def share(data_dir: Path) -> int:
    """A place among the passing users of the servers, until it is closed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (descriptor := try_lock(data_dir / "users.lock", shared=True)) is None:
        if time.monotonic() > deadline:
            raise DataDirectoryInUse(f"The servers of {data_dir} do not come to an end.")
        time.sleep(0.02)
    return descriptor
