"""Where a data directory keeps the files of its servers, and who owns them."""

import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from storage.embedded.accounts import Account, can_enter, owner, unprivileged
from storage.embedded.files import write_private
from tenancy.errors import Misconfigured

ELSEWHERE = Path("/var/lib/tenantry")
KEPT = ("postgres", "redis")
POINTER = "cluster-id"


@dataclass(frozen=True, slots=True)
class Place:
    """The data directory, the parent of the servers' own folders, and their account.

    `home` is the data directory unless the account cannot get there.
    """

    data_dir: Path
    home: Path
    account: Account | None


def make_data_dir(data_dir: Path) -> Path:
    """The absolute path of `data_dir`, made private if it is new."""
    folder = data_dir.absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise Misconfigured(f"{folder} belongs to another account.")
    return folder


def settle(data_dir: Path) -> Place:
    """The place of `data_dir`, chosen at its first start; its owner's lock must be held."""
    if os.geteuid() != 0:
        return Place(data_dir, data_dir, None)
    if home := _known_home(data_dir):
        owners = (owner(home / name) for name in KEPT)
        return Place(data_dir, home, next(filter(None, owners), None) or unprivileged())
    account = unprivileged()
    return Place(data_dir, _choose_home(data_dir, account), account)


def remove(place: Place) -> None:
    """Remove what the servers of `place` kept; what others put there stays."""
    folders = [place.home / name for name in KEPT]
    for folder in (*folders, place.data_dir / "secrets", place.data_dir / "logs"):
        shutil.rmtree(folder, ignore_errors=True)
    if place.home != place.data_dir:
        shutil.rmtree(place.home)
        (place.data_dir / POINTER).unlink()


def make_elsewhere() -> Path:
    """The folder for what an unprivileged account cannot reach where it is."""
    if not ELSEWHERE.exists():
        ELSEWHERE.mkdir(parents=True, exist_ok=True)
        ELSEWHERE.chmod(0o755)
    return ELSEWHERE


def _known_home(data_dir: Path) -> Path | None:
    pointer = data_dir / POINTER
    if not pointer.exists():
        return data_dir if any((data_dir / name).exists() for name in KEPT) else None
    home = ELSEWHERE / pointer.read_text().strip()
    if not home.is_dir():
        raise Misconfigured(f"{home}, the database of {data_dir}, is gone: restore it.")
    return home


def _choose_home(data_dir: Path, account: Account) -> Path:
    if _is_untouched(data_dir) and can_enter(account, data_dir.parent):
        os.chown(data_dir, -1, account.gid)
        data_dir.chmod(0o710)  # the account may pass through, and see nothing on its way
    return data_dir if can_enter(account, data_dir) else _make_home(data_dir)


def _is_untouched(data_dir: Path) -> bool:
    """Whether it is as `make_data_dir` made it: nobody's home is opened by a mistyped path."""
    found = data_dir.stat()
    ours = found.st_uid == 0 and stat.S_IMODE(found.st_mode) == 0o700
    return ours and {entry.name for entry in data_dir.iterdir()} <= {"lock", "users.lock"}


def _make_home(data_dir: Path) -> Path:
    home = make_elsewhere() / secrets.token_hex(8)
    home.mkdir()
    home.chmod(0o711)
    write_private(data_dir / POINTER, home.name + "\n")
    return home
