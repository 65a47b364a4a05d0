"""PostgreSQL 18 with pgvector: its first cluster, its command line, its readiness."""

import os
import shutil
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT

import psycopg

from storage.embedded.accounts import give
from storage.embedded.binaries import POSTGRES, Program, locate
from storage.embedded.files import (
    log_tail,
    make_password,
    open_log,
    read_password,
    write_private,
)
from storage.embedded.kind import NotReady, Plan
from storage.embedded.places import Place
from storage.embedded.processes import names, run
from tenancy.errors import Misconfigured

INITDB_OPTIONS = (
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale-provider=builtin",  # an order that no upgrade of the C library changes
    "--builtin-locale=C.UTF-8",
    "--locale=C.UTF-8",  # full-text search asks the C library what a letter is
)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
}


class Postgres:
    """The embedded Postgres."""

    name = "postgres"
    signals = (SIGINT, SIGQUIT, SIGKILL)  # fast, immediate, none of its business

    def program(self, place: Place) -> Program:
        return locate(POSTGRES, place.account)

    def marker(self, place: Place) -> Path:
        return place.home / "postgres"

    def noted_pid(self, place: Place) -> int | None:
        with suppress(FileNotFoundError, ValueError, IndexError):
            return int((self.marker(place) / "postmaster.pid").read_text().split()[0])
        return None

    def arrange(self, place: Place, program: Program, hold: int) -> None:
        cluster = self.marker(place)
        if cluster.exists():
            self._forget_stale_pid(place)
        else:
            _init(place, program, hold).rename(cluster)
        _sweep(place)

    def plan(self, place: Place, program: Program, folder: Path) -> Plan:
        port = _free_port()
        settings = SETTINGS | {"unix_socket_directories": str(folder), "port": str(port)}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        account = f"postgres:{_password(place)}"
        return Plan(
            [str(program.folder / "postgres"), "-D", str(self.marker(place)), *flags],
            f"postgresql://{account}@/postgres?host={folder}&port={port}",
            f"postgresql://{account}@127.0.0.1:{port}/postgres",
        )

    def probe(self, url: str) -> None:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise Misconfigured("postgres does not accept the kept password.") from None
            raise NotReady(str(error), recovering="FATAL" in str(error)) from None

    def _forget_stale_pid(self, place: Place) -> None:
        """Remove a dead server's pid file: Postgres would take any live process for it.

        Our lock says that no server of ours is left; only a hand-started one can be.
        """
        pid = self.noted_pid(place)
        if pid is not None and names(pid, self.marker(place)):
            raise Misconfigured(f"Process {pid} already serves {self.marker(place)}.")
        (self.marker(place) / "postmaster.pid").unlink(missing_ok=True)


def _init(place: Place, program: Program, hold: int) -> Path:
    """A new cluster below a draft folder: a kill in the middle leaves nothing half-made."""
    _sweep(place)
    draft = Path(tempfile.mkdtemp(prefix="new-", dir=place.home))
    give(draft, place.account)
    make_password(place.data_dir, "postgres")
    write_private(draft / "password", _password(place), place.account)
    log = open_log(place.data_dir, "postgres")
    command = [
        str(program.folder / "initdb"),
        *INITDB_OPTIONS,
        f"--pwfile={draft / 'password'}",
        f"--pgdata={draft / 'postgres'}",
    ]
    try:
        status = run(command, place.account, folder=draft, log=log, hold=hold)
    finally:
        os.close(log)
    if status:
        raise Misconfigured(f"initdb failed: {log_tail(place.data_dir, 'postgres')}")
    return draft / "postgres"


def _sweep(place: Place) -> None:
    for draft in place.home.glob("new-*"):
        shutil.rmtree(draft, ignore_errors=True)


def _password(place: Place) -> str:
    password = read_password(place.data_dir, "postgres")
    if password is None:
        raise Misconfigured(f"The password of {place.home / 'postgres'} is gone: restore it.")
    return password


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
