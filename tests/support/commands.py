"""`tenantry` as a stranger runs it: a process with a folder and an environment of its own."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

TENANTRY = str(Path(sys.executable).with_name("tenantry"))
PATIENCE_SECONDS = 120
OURS = ("TENANTRY_", "OPENAI_", "STUDIO_", "PG")
Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Terminal:
    """A shell in an empty folder with nothing of ours set but `variables`."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def data_dir(self) -> Path:
        """Where the commands keep their data."""
        return self.folder / "data"

    def but(self, **variables: str) -> "Terminal":
        """The same folder with more variables set."""
        return Terminal(self.folder, {**self.variables, **variables})

    def run(self, *words: str, data_dir: Path | None = None) -> Done:
        """Run a command to its end."""
        return subprocess.run(
            self._command(words, data_dir),
            env=self._environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def ok(self, *words: str) -> str:
        """What a command that succeeds prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        """The one JSON value that a command prints."""
        return json.loads(self.ok(*words, "--json"))

    def start(self, *words: str) -> "Foreground":
        """Start a command that runs until it is stopped."""
        process = subprocess.Popen(
            self._command(words, None),
            env=self._environment(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Foreground(process, self.data_dir)

    @contextmanager
    def running(self, *words: str) -> Iterator["Foreground"]:
        """A command that serves, until the block ends."""
        process = self.start(*words)
        try:
            yield process.wait_ready()
        finally:
            code = process.stop()
        assert code == 0

    def _command(self, words: tuple[str, ...], data_dir: Path | None) -> list[str]:
        return [TENANTRY, *words, "--data-dir", str(data_dir or self.data_dir)]

    def _environment(self) -> dict[str, str]:
        named = {"DATABASE_URL", "REDIS_URL", "PYTHONDONTWRITEBYTECODE"}
        kept = {
            name: text
            for name, text in os.environ.items()
            if name not in named and not name.startswith(OURS)
        }
        return {**kept, "PYTHONPYCACHEPREFIX": _bytecode(), **self.variables}


class Foreground:
    """`tenantry up` or `serve`: what it printed, and whom it started."""

    def __init__(self, process: "subprocess.Popen[str]", data_dir: Path) -> None:
        self.process = process
        self.stdout: list[str] = []
        self.stderr: list[str] = []
        self._data_dir = data_dir
        self._readers = [
            threading.Thread(target=_collect, args=[stream, lines], daemon=True)
            for stream, lines in ((process.stdout, self.stdout), (process.stderr, self.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def url(self) -> str:
        """Where it serves."""
        return self.stdout[0].split()[1]

    @property
    def server_pid(self) -> int:
        """The process that answers requests."""
        return int(json.loads((self._data_dir / "server.json").read_text())["pid"])

    def stores(self) -> dict[str, Any]:
        """What `run.json` says of the embedded servers."""
        found: dict[str, Any] = json.loads((self._data_dir / "run.json").read_text())
        return found

    def wait_ready(self) -> "Foreground":
        """Return when it serves."""
        wait_until(lambda: bool(self.stdout) or self.process.poll() is not None)
        assert self.stdout, self.wait()
        assert self.stdout[0].startswith("ready http://")
        return self

    def wait(self) -> tuple[int, str]:
        """Its exit code and what it said on standard error."""
        code = self.process.wait(PATIENCE_SECONDS)
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)
        return code, "".join(self.stderr)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and wait; its pipes are closed afterwards."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code, _ = self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


def _collect(stream: Any, lines: list[str]) -> None:
    for line in stream:
        lines.append(line)


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when `holds`; fails after a generous time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process runs, which a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@cache
def _bytecode() -> str:
    """Compiled modules for all commands of the session: compiling is most of a start's time."""
    folder = tempfile.mkdtemp(prefix="tenantry-test-bytecode-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
