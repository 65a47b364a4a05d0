"""Where the running server of a data directory is found: written when it serves, removed after."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

FILE = "server.json"


@contextmanager
def beacon(data_dir: Path, url: str) -> Iterator[None]:
    """Say that this process serves at `url`, while it does."""
    path = data_dir / FILE
    draft = path.with_name(f".{FILE}.{os.getpid()}")
    draft.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        if _pid(path) == os.getpid():
            path.unlink(missing_ok=True)


def running_server(data_dir: Path) -> str | None:
    """The URL of the server of this data directory, if one answers."""
    try:
        url = str(json.loads((data_dir / FILE).read_text(encoding="utf-8"))["url"])
        place = urlsplit(url)
        with socket.create_connection((place.hostname, place.port), timeout=1):
            return url
    except (OSError, ValueError, KeyError):
        return None


def _pid(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError):
        return None
