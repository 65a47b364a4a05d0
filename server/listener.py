"""The address a server listens on: taken before anything else, so that it fails early."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tenancy.errors import Misconfigured

BACKLOG = 2048
STEP_SECONDS = 0.1


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket until the block ends. Raises `Misconfigured` when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # said to be TCP, or asyncio leaves Nagle's algorithm on and answers wait 40 ms for an ACK
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Misconfigured(f"Cannot serve on {host}:{port}: {reason}.") from None
        yield listener


def require_free(host: str, port: int, *, patience_seconds: float = 0) -> None:
    """Return when the address can be listened on; raises `Misconfigured` when patience ends."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            with listening(host, port):
                return
        except Misconfigured:
            if time.monotonic() > deadline:
                raise
        time.sleep(STEP_SECONDS)


def url_of(listener: socket.socket) -> str:
    """Where this machine reaches what listens here."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # where to reach it
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
