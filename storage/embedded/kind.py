"""What a supervisor must know of a server, and how it starts and recognises one."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from storage.embedded.binaries import Program
from storage.embedded.files import log_tail, open_log, socket_folder
from storage.embedded.lock import try_lock
from storage.embedded.places import Place
from storage.embedded.processes import STEP_SECONDS, end, names, reap, spawn, started
from storage.embedded.record import Running
from tenancy.errors import Misconfigured, Unavailable

SILENCE_SECONDS = 30.0
RECOVERY_SECONDS = 300.0  # replaying the log of a killed server: it answers, it is not stuck


class NotReady(Exception):
    """The server does not answer yet; *recovering* when it says so itself."""

    def __init__(self, reason: str, *, recovering: bool = False) -> None:
        super().__init__(reason)
        self.recovering = recovering


@dataclass(frozen=True, slots=True)
class Plan:
    """How to run a server and how to reach it then."""

    command: Sequence[str]
    url: str
    tcp_url: str | None = None


class Kind(Protocol):
    """Postgres or Redis."""

    @property
    def name(self) -> str:
        """The name in `run.json`, in file names and in messages."""

    @property
    def signals(self) -> Sequence[Signals]:
        """From the politest to the last."""

    def program(self, place: Place) -> Program:
        """Its executables. Raises `Misconfigured` when they are not installed."""

    def marker(self, place: Place) -> Path:
        """The file or folder every process of this server names in its arguments."""

    def noted_pid(self, place: Place) -> int | None:
        """The pid in the server's own pid file, whoever has it now."""

    def arrange(self, place: Place, program: Program, hold: int) -> None:
        """Make what a first start needs; whoever works for it inherits the lock `hold`."""

    def plan(self, place: Place, program: Program, folder: Path) -> Plan:
        """How to run it with its socket in `folder`."""

    def probe(self, url: str) -> None:
        """Return when it serves; raises `NotReady`."""


def answers(kind: Kind, running: Running) -> bool:
    """Whether this very process lives and serves whoever has our password."""
    if not running.is_alive:
        return False
    try:
        kind.probe(running.url)
    except (NotReady, Misconfigured):
        return False
    return True


def launch(kind: Kind, place: Place) -> Running:
    """Start a server without waiting until it serves."""
    program = kind.program(place)
    hold = _claim(kind, place)
    try:
        kind.arrange(place, program, hold)
        return _run(kind, place, program, hold)
    finally:
        os.close(hold)


def await_ready(kind: Kind, place: Place, running: Running) -> None:
    """Return when the server serves. Raises `Misconfigured` or `Unavailable` with its reason."""
    began = time.monotonic()
    while True:
        try:
            return kind.probe(running.url)
        except NotReady as error:
            reason, limit = str(error), RECOVERY_SECONDS if error.recovering else SILENCE_SECONDS
        if not running.is_alive:
            reap(running.pid)
            raise Misconfigured(f"{kind.name} did not start: {log_tail(place.data_dir, kind.name)}")
        if time.monotonic() - began > limit:
            raise Unavailable(f"{kind.name} did not answer in {limit:.0f} seconds: {reason}")
        time.sleep(STEP_SECONDS)


def dismiss(kind: Kind, running: Running) -> None:
    """End the server and remove the folder of its socket."""
    end(running.pid, running.started, kind.signals)
    shutil.rmtree(running.folder, ignore_errors=True)


def _claim(kind: Kind, place: Place) -> int:
    """The lock on the server's files, after the end of any process that still has it."""
    path = place.data_dir / f"{kind.name}.lock"
    deadline = time.monotonic() + SILENCE_SECONDS
    while (hold := try_lock(path)) is None:
        _end_unrecorded(kind, place)
        if time.monotonic() > deadline:
            raise Misconfigured(f"A process still uses the {kind.name} files of {place.data_dir}.")
        time.sleep(STEP_SECONDS)
    return hold


def _end_unrecorded(kind: Kind, place: Place) -> None:
    """End a server whose owner was killed before it could write down whom it had started."""
    pid = kind.noted_pid(place)
    since = started(pid) if pid else None
    if pid and since and names(pid, kind.marker(place)):
        end(pid, since, kind.signals)


def _run(kind: Kind, place: Place, program: Program, hold: int) -> Running:
    folder = socket_folder(place.account)
    log = open_log(place.data_dir, kind.name)
    try:
        plan = kind.plan(place, program, folder)
        pid = spawn(plan.command, place.account, folder=folder, log=log, hold=hold)
    except BaseException:
        shutil.rmtree(folder)
        raise
    finally:
        os.close(log)
    since = started(pid) or ""
    return Running(pid, since, program.version, str(folder), plan.url, plan.tcp_url)
