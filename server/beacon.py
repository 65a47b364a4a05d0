"""Where the running server of a data directory is found: written when it serves, removed after."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from storage.embedded.processes import started

FILE = "server.json"


@dataclass(frozen=True, slots=True)
class Beacon:
    """A server: its process, known by pid and start time, and where it is reached."""

    url: str
    pid: int
    started: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process lives: another's port must not be taken for ours."""
        return started(self.pid) == self.started


@contextmanager
def beacon(data_dir: Path, url: str) -> Iterator[None]:
    """Say that this process serves at `url`, while it does."""
    own = Beacon(url, os.getpid(), started(os.getpid()) or "")
    path = data_dir / FILE
    draft = path.with_name(f".{FILE}.{own.pid}")
    draft.write_text(json.dumps(asdict(own)), encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        if _read(data_dir) == own:
            path.unlink(missing_ok=True)


def lit(data_dir: Path) -> Beacon | None:
    """The beacon of this data directory whose process lives, serving or on its way out."""
    found = _read(data_dir)
    return found if found is not None and found.is_alive else None


def running_server(data_dir: Path) -> str | None:
    """The URL of the server of this data directory, if one answers."""
    found = lit(data_dir)
    if found is None:
        return None
    place = urlsplit(found.url)
    try:
        with socket.create_connection((place.hostname, place.port), timeout=1):
            return found.url
    except OSError:
        return None


def _read(data_dir: Path) -> Beacon | None:
    try:
        return Beacon(**json.loads((data_dir / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
