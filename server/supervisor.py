"""`tenantry up`: the stores, the migrations, the demo, and a server process beside them.

The server is a process of its own because it must never know the owner's password, which this one
needs. It holds the other end of a pipe: when this process is gone, however it went, it stops.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from server.beacon import lit
from server.demo.setup import greeting, prepare_demo
from server.listener import require_free
from server.settings import Settings
from server.stores import Stores, owned, prepare

SECRET_OF_OWNER = "TENANTRY_OWNER_DATABASE_URL"  # noqa: S105  # the name of a variable
ORPHAN_SECONDS = 20.0  # a server whose `up` was killed drains, and then it is gone
STOP_SECONDS = 30.0  # the server's own patience is 15


def run_up(settings: Settings, *, demo: bool) -> int:
    """Run until INT or TERM; returns the exit code. Raises `Misconfigured`."""
    with _Told() as told:
        try:
            settings.require_models()
            _require_port(settings)
            with owned(settings) as stores:
                return _run(settings, stores, told, demo=demo)
        except KeyboardInterrupt:
            return 0


def _run(settings: Settings, stores: Stores, told: "_Told", *, demo: bool) -> int:
    prepare(stores)
    if demo:
        prepare_demo(settings, stores)
    require_free(settings.host, settings.port, patience_seconds=ORPHAN_SECONDS)
    with _server(settings, stores) as server, told.passed_on_to(server):
        if ready := server.stdout.readline() if server.stdout else "":
            url = ready.split()[-1]
            sys.stdout.write(ready + (greeting(settings, url) if demo else ""))
            sys.stdout.flush()
        code = server.wait()
        return 0 if told.already else _verdict(code)


def _require_port(settings: Settings) -> None:
    """Fail before anything is started; what a server of ours still holds will be free soon."""
    found = lit(settings.data_dir)
    if found is None or not found.url.endswith(f":{settings.port}"):
        require_free(settings.host, settings.port)


def _verdict(code: int) -> int:
    """The exit code for a server that ended by itself, after a line when it could not say why."""
    if code < 0:
        name = signal.Signals(-code).name
        sys.stderr.write(f"tenantry: The server was ended by {name}. Run `tenantry up` again.\n")
    return code if code > 0 else 1


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
        _end(process)
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(stores: Stores) -> dict[str, str]:
    environment = {name: text for name, text in os.environ.items() if name != SECRET_OF_OWNER}
    environment["DATABASE_URL"] = stores.app_url
    environment["REDIS_URL"] = stores.redis_url
    if stores.operator_url is not None:
        environment["TENANTRY_OPERATOR_DATABASE_URL"] = stores.operator_url
    return environment


class _Told:
    """INT and TERM: they end the preparation, or are passed on to the server once there is one."""

    def __init__(self) -> None:
        self.already = False
        self._server: subprocess.Popen[str] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "_Told":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() gave us

    @contextmanager
    def passed_on_to(self, server: subprocess.Popen[str]) -> Iterator[None]:
        """The server drains when told once, and stops at once when told again."""
        self._server = server
        try:
            yield
        finally:
            self._server, self.already = None, True  # from here on all is being stopped

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        first, self.already = not self.already, True
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM if first else signal.SIGINT)
        elif first:
            raise KeyboardInterrupt
