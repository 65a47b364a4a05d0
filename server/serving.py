"""Serves the application: one process, one port, until it is told to stop."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import uvicorn
import uvloop

from server.beacon import beacon
from server.listener import listening, url_of
from server.logs import configure_logs
from server.settings import Settings
from server.stores import Stores
from storage.checks import refuse_unsafe
from storage.embedded.places import make_data_dir
from storage.postgres import Pool
from storage.seal import AppDatabase

STOP_SECONDS = 15


class Server(uvicorn.Server):
    """Uvicorn that says when it is ready, ends with 0 when told to stop, and heeds its parent."""

    def __init__(self, config: uvicorn.Config, *, url: str, parent_fd: int | None) -> None:
        super().__init__(config)
        self._url = url
        self._parent_fd = parent_fd

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then print the one line that tells it."""
        await super().startup(sockets)
        if self.started:
            if self._parent_fd is not None:
                asyncio.get_running_loop().add_reader(self._parent_fd, self._stop)
            sys.stdout.write(f"ready {self._url}\n")
            sys.stdout.flush()

    def _stop(self) -> None:
        """The parent is gone: its end of the pipe closed, whatever ended it."""
        if self._parent_fd is not None:
            asyncio.get_running_loop().remove_reader(self._parent_fd)
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop gracefully on INT and TERM, at once on the second; do not raise them again."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


def serve(settings: Settings, stores: Stores, parent_fd: int | None = None) -> None:
    """Serve until INT or TERM. Raises `Misconfigured` before anything is served."""
    configure_logs()
    make_data_dir(settings.data_dir)
    with (
        listening(settings.host, settings.port) as listener,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(settings, stores, listener, parent_fd))


async def _serve(
    settings: Settings, stores: Stores, listener: socket.socket, parent_fd: int | None
) -> None:
    await _check(stores.app)
    from server.app import create_app  # noqa: PLC0415  # seconds: a refusal does not wait for them
    from server.wiring import build_services  # noqa: PLC0415

    services = build_services(settings, stores.app, stores.redis_url, stores.operator_url)
    config = uvicorn.Config(
        create_app(services, version=version("tenantry")),
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    url = url_of(listener)
    with beacon(settings.data_dir, url):
        await Server(config, url=url, parent_fd=parent_fd).serve(sockets=[listener])


async def _check(database: AppDatabase) -> None:
    pool = Pool(database, size=1)
    await pool.open(wait=False)
    try:
        await refuse_unsafe(pool)
    finally:
        await pool.close()
