"""The account that runs the servers: one's own, or an unprivileged one when that is root."""

import os
import pwd
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenancy.errors import Misconfigured

NAMES = ("tenantry", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An account of this machine."""

    uid: int
    gid: int


def unprivileged() -> Account:
    """Whom root runs servers as: Postgres refuses to be root."""
    for name in NAMES:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise Misconfigured("Postgres does not run as root: make an account named tenantry.")


def owner(path: Path) -> Account | None:
    """Who owns `path`, if it is there and not root's."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return Account(found.st_uid, found.st_gid) if found.st_uid else None
    return None


def identity(account: Account | None) -> dict[str, Any]:
    """What `subprocess` needs to run something as `account`."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def can_enter(account: Account, path: Path) -> bool:
    """Whether `account` gets to `path` and may execute it, asked as that account.

    Not with Python: the interpreter may itself live in a private folder.
    """
    command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    answer = subprocess.run(command, cwd="/", check=False, **identity(account))  # noqa: S603  ours
    return answer.returncode == 0


def give(path: Path, account: Account | None) -> None:
    """Make `account` the owner of `path`."""
    if account is not None:
        os.chown(path, account.uid, account.gid)
