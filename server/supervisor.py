"""`tenantry up`: the stores, the migrations, the demo, and a server process beside them.

The server is a process of its own because it must never know the owner's password, which this one
needs. It holds the other end of a pipe: when this process is gone, however it went, it stops.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server.settings import Settings
from server.stores import Stores, owned, prepare

SECRET_OF_OWNER = "TENANTRY_OWNER_DATABASE_URL"  # noqa: S105  # the name of a variable


def run_up(settings: Settings, prepare_demo: Callable[[Stores], str] | None) -> int:
    """Run until INT or TERM; returns the exit code. Raises `Misconfigured`."""
    with owned(settings) as stores:
        prepare(stores)
        greeting = prepare_demo(stores) if prepare_demo else ""
        with _server(settings, stores) as server, _stopping(server) as stopped:
            if line := server.stdout.readline() if server.stdout else "":
                sys.stdout.write(line + greeting)
                sys.stdout.flush()
            code = server.wait()
            return 0 if stopped() else code or 1


@contextmanager
def _server(settings: Settings, stores: Stores) -> Iterator[subprocess.Popen[str]]:
    child_end, parent_end = os.pipe()
    command = [sys.executable, "-m", "server.cli", "serve", "--parent-fd", str(child_end)]
    command += ["--host", settings.host, "--port", str(settings.port)]
    command += ["--data-dir", str(settings.data_dir.resolve())]
    process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
        command,
        env=_environment(stores),
        stdout=subprocess.PIPE,
        pass_fds=[child_end],
        start_new_session=True,  # Ctrl-C reaches this process alone, which then tells the server
        text=True,
    )
    os.close(child_end)
    try:
        yield process
    finally:
        os.close(parent_end)
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _environment(stores: Stores) -> dict[str, str]:
    environment = {name: text for name, text in os.environ.items() if name != SECRET_OF_OWNER}
    environment["DATABASE_URL"] = stores.app_url
    environment["REDIS_URL"] = stores.redis_url
    if stores.operator_url is not None:
        environment["TENANTRY_OPERATOR_DATABASE_URL"] = stores.operator_url
    return environment


@contextmanager
def _stopping(server: subprocess.Popen[str]) -> Iterator[Callable[[], bool]]:
    """Pass INT and TERM on to the server as TERM; yields whether that has happened."""
    told = False

    def tell(*_: object) -> None:
        nonlocal told
        told = True
        server.terminate()

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
