"""Small private files, whole or not there."""

import os
import secrets
import tempfile
from pathlib import Path

from storage.embedded.accounts import Account, give

SOCKETS = "/tmp"  # noqa: S108  a socket's path has 107 bytes; the folder made in it is private
TAIL_LINES = 4


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace `path` by a file only its owner can read; it survives a power cut."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    give(draft, account)
    draft.replace(path)


def private_folder(path: Path, account: Account | None = None) -> Path:
    """`path` as a folder of `account` alone, made if need be."""
    if not path.exists():
        path.mkdir(mode=0o700)
        give(path, account)
    return path


def socket_folder(account: Account | None) -> Path:
    """A new private folder whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="tenantry-", dir=SOCKETS))
    give(folder, account)
    return folder


def read_password(data_dir: Path, name: str) -> str | None:
    """The password of a server, if it has one."""
    path = data_dir / "secrets" / f"{name}-password"
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def make_password(data_dir: Path, name: str) -> str:
    """A new password of a server, kept where only the owner of the data directory reads."""
    password = secrets.token_urlsafe(32)
    folder = private_folder(data_dir / "secrets")
    write_private(folder / f"{name}-password", password + "\n")
    return password


def open_log(data_dir: Path, name: str) -> int:
    """A new log for a server; the one before is kept beside it."""
    log = log_path(data_dir, name)
    private_folder(log.parent)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def log_path(data_dir: Path, name: str) -> Path:
    """Where a server's output goes."""
    return data_dir / "logs" / f"{name}.log"


def log_tail(data_dir: Path, name: str) -> str:
    """The end of a server's log on one line."""
    text = log_path(data_dir, name).read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-TAIL_LINES:])
