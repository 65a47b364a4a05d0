"""`tenantry up` and `serve` as processes: they start, share, refuse, die and come back."""

import json
import os
import shlex
import signal
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from storage import embedded
from tests.support.commands import Foreground, Terminal, free_port, is_alive, wait_until
from tests.support.stores import open_folder

ROLES = ("tenantry_owner", "tenantry_app", "tenantry_operator")
SOCKETS = ("postgres_folder", "redis_folder")


class Demo:
    """One data directory with the demo, served whenever a test asks for it."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.port = free_port()
        self._up: Foreground | None = None

    def up(self) -> Foreground:
        """The running `up`, started again if the last test ended it."""
        if self._up is None or self._up.process.poll() is not None:
            self.begin().wait_ready()
        assert self._up
        return self._up

    def begin(self) -> Foreground:
        """Start `up`, whatever runs already or is on its way out."""
        self._up = self.terminal.start("up", "--demo", "--port", str(self.port))
        return self._up

    def end(self) -> None:
        """Stop it if it runs."""
        if self._up is not None:
            self._up.stop()

    def ask(self, tenant: str, **more: Any) -> dict[str, Any]:
        """What the curl that was printed for the tenant is answered."""
        words = shlex.split(self.curls()[tenant])
        headers = dict(words[i + 1].split(": ", 1) for i, w in enumerate(words) if w == "-H")
        body = json.loads(words[words.index("-d") + 1]) | more
        response = httpx.post(words[2], headers=headers, json=body, timeout=60)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def thread(self, tenant: str, thread_id: str) -> list[str]:
        """Who spoke in a thread, in order."""
        words = shlex.split(self.curls()[tenant])
        token = words[words.index("-H") + 1].split(": ", 1)
        url = f"{self.up().url}/v1/threads/{thread_id}"
        found = httpx.get(url, headers=dict([token]), timeout=60).json()
        return [message["role"] for message in found["messages"]]

    def curls(self) -> dict[str, str]:
        """The printed commands, by the tenant in the line above each."""
        self.up()
        wait_until(lambda: sum(line.startswith("curl ") for line in self.up().stdout) == 2)
        lines = self.up().stdout
        return {
            lines[i - 1][2:].strip(): line
            for i, line in enumerate(lines)
            if line.startswith("curl ")
        }


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with open_folder() as folder:
        found = Demo(Terminal(folder))
        try:
            yield found
        finally:
            found.end()


def family(up: Foreground) -> list[int]:
    """Every process of an `up`: itself, the server, the stores."""
    stores = up.stores()
    return [up.process.pid, up.server_pid, stores["postgres_pid"], stores["redis_pid"]]


def test_the_printed_commands_are_answered_differently_with_citations(demo: Demo) -> None:
    acme, globex = demo.ask("acme"), demo.ask("globex")
    assert "$489" in acme["answer"]
    assert "$429" in globex["answer"]
    assert {answer["model"] for answer in (acme, globex)} == {"offline-extractive"}
    assert all(each["title"].startswith("Acme") for each in acme["citations"])
    assert all(each["title"].startswith("Globex") for each in globex["citations"])
    assert acme["citations"]
    assert globex["citations"]


def test_ready_is_the_first_line_and_said_once(demo: Demo) -> None:
    up = demo.up()
    assert up.stdout[0] == f"ready http://127.0.0.1:{demo.port}\n"
    assert sum(line.startswith("ready") for line in up.stdout) == 1


def test_the_server_process_never_learns_the_owners_password(demo: Demo) -> None:
    up = demo.up()
    kept = json.loads((demo.terminal.data_dir / "secrets/database-roles.json").read_text())
    superuser = (demo.terminal.data_dir / "secrets/postgres-password").read_text().strip()
    environment = Path(f"/proc/{up.server_pid}/environ").read_text()
    assert kept["tenantry_app"] in environment
    assert kept["tenantry_owner"] not in environment
    assert superuser not in environment


def test_a_folder_in_use_is_refused_in_one_line(demo: Demo) -> None:
    up = demo.up()
    done = demo.terminal.run("up", "--port", "0")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"is in use by process {up.process.pid}" in done.stderr


def test_a_taken_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = Terminal(tmp_path).run("up", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "address already in use" in done.stderr
    assert not (tmp_path / "data").exists()


def test_interrupted_it_leaves_nothing_running(demo: Demo) -> None:
    up = demo.up()
    pids, stores = family(up), up.stores()
    assert up.stop(signal.SIGINT) == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    assert [stores[name] for name in SOCKETS if Path(stores[name]).exists()] == []


def test_told_to_stop_before_it_serves_it_leaves_nothing_running(demo: Demo) -> None:
    demo.end()
    up = demo.begin()
    wait_until((demo.terminal.data_dir / "run.json").exists)
    stores = up.stores()
    assert up.stop(signal.SIGTERM) == 0
    assert not is_alive(stores["postgres_pid"])
    assert not is_alive(stores["redis_pid"])


@dataclass(frozen=True, slots=True)
class Death:
    """Who of an `up` is killed, and how the `up` itself ends."""

    parent: bool
    server: bool
    code: int


DEATHS = [Death(False, True, 1), Death(True, False, -9), Death(True, True, -9)]


@pytest.mark.parametrize("death", DEATHS, ids=["the server", "the parent", "both"])
def test_after_a_kill_an_immediate_up_works_and_threads_remember(demo: Demo, death: Death) -> None:
    thread_id = demo.ask("acme")["thread_id"]
    up = demo.up()
    server = up.server_pid
    if death.parent:
        os.kill(up.process.pid, signal.SIGKILL)
    if death.server:
        os.kill(server, signal.SIGKILL)
    again = demo.begin()
    code, said = up.wait()
    assert code == death.code
    if not death.parent:
        assert said.splitlines()[-1].startswith("tenantry: The server was ended by SIGKILL.")
    up.stop()
    again.wait_ready()
    wait_until(lambda: not is_alive(server))
    demo.ask("acme", thread_id=thread_id)
    assert demo.thread("acme", thread_id) == ["user", "assistant"] * 2


# Stores that are given -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """A Postgres and a Redis of somebody else's, and a folder for our own data."""

    admin_url: str
    redis_url: str
    terminal: Terminal

    def with_url(self, url: str) -> Terminal:
        """A terminal that is given this database."""
        return self.terminal.but(DATABASE_URL=url, REDIS_URL=self.redis_url)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the superuser sees."""
        with psycopg.connect(self.admin_url, autocommit=True) as conn:
            return conn.execute(statement).fetchall()  # type: ignore[arg-type]


@pytest.fixture
def given() -> Iterator[Given]:
    with open_folder() as folder, embedded.start(folder / "theirs") as running:
        urls = running.servers
        assert urls.postgres_tcp_url
        assert urls.redis_url
        (folder / "ours").mkdir()
        yield Given(urls.postgres_tcp_url, urls.redis_url, Terminal(folder / "ours"))
        running.erase()


OUR_ROLES = "select rolname, rolsuper, rolbypassrls, rolcreaterole from pg_roles where rolname like 'tenantry%' order by 1"  # noqa: E501


def test_given_a_superuser_up_makes_the_roles_and_serves_as_the_app(given: Given) -> None:
    terminal = given.with_url(given.admin_url)
    refused = terminal.run("serve", "--port", "0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "The role postgres of DATABASE_URL is a superuser" in refused.stderr
    assert "tenantry up" in refused.stderr
    assert given.rows(OUR_ROLES) == []

    with terminal.running("up", "--port", "0") as up:
        passwords = terminal.data_dir / "secrets/database-roles.json"
        assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
        assert given.rows(OUR_ROLES) == [(role, False, False, False) for role in sorted(ROLES)]
        users = given.rows("select distinct usename from pg_stat_activity where datname='postgres'")
        assert ("tenantry_app",) in users
        assert ("tenantry_owner",) not in users
        environment = Path(f"/proc/{up.server_pid}/environ").read_text()
        kept = json.loads(passwords.read_text())
        assert kept["tenantry_owner"] not in environment
        assert given.admin_url not in environment
        assert terminal.json("tenant", "list") == []  # beside it, on the same folder

    app = make_conninfo(given.admin_url, user=ROLES[1], password=kept["tenantry_app"])
    alone = Given(app, given.redis_url, Terminal(given.terminal.folder.parent)).with_url(app)
    unsealed = alone.run("serve", "--port", "0")
    assert (unsealed.returncode, unsealed.stderr.count("\n")) == (2, 1)
    assert "The seal key of the database is unknown here" in unsealed.stderr
    other = alone.but(TENANTRY_SEAL_KEY="another key than that of the database")
    assert "does not believe the seal key" in other.run("serve", "--port", "0").stderr
    alone = alone.but(TENANTRY_SEAL_KEY=(terminal.data_dir / "secrets/seal-key").read_text())
    with alone.running("serve", "--port", "0") as serving:
        assert httpx.get(f"{serving.url}/readyz").status_code == 200
        assert alone.run("tenant", "list").returncode == 2  # it does not know the owner
    elsewhere = terminal.run("tenant", "list", data_dir=given.terminal.folder / "elsewhere")
    assert elsewhere.returncode == 2
    assert terminal.json("tenant", "list") == []  # whose passwords are still the right ones


def test_migrate_works_for_an_admin_who_is_no_superuser(given: Given) -> None:
    with psycopg.connect(given.admin_url, autocommit=True) as conn:
        conn.execute("create role cloudadmin login createrole password 'cloud'")
        conn.execute("create database cloud owner cloudadmin")
    cloud = make_conninfo(given.admin_url, dbname="cloud")
    admin = make_conninfo(cloud, user="cloudadmin", password="cloud")
    app = make_conninfo(cloud, user="tenantry_app", password="50%25 of/it")
    terminal = given.with_url(app).but(TENANTRY_OWNER_DATABASE_URL=admin)

    refused = terminal.run("migrate")
    assert refused.returncode == 2
    assert "create extension vector" in refused.stderr
    with psycopg.connect(cloud, autocommit=True) as conn:
        conn.execute("create extension vector")
    assert "0001_pre_create_control.sql" in terminal.ok("migrate")
    assert "up to date" in terminal.ok("migrate")
    assert terminal.json("migrate") == {"applied": []}
    assert terminal.json("tenant", "create", "zed")["tenant_id"] == "zed"
    psycopg.connect(app).close()  # the password is the one that DATABASE_URL says

    away = given.with_url(make_conninfo(app, port=str(free_port())))
    for command in (["up", "--port", "0"], ["serve", "--port", "0"], ["tenant", "list"]):
        done = away.run(*command)
        assert done.returncode == 1, done.stderr
        assert done.stderr.count("\n") == 1
        assert "DATABASE_URL: connection" in done.stderr
    wrong = given.with_url(make_conninfo(app, password="wrong")).run("serve", "--port", "0")
    assert wrong.returncode == 1
    assert wrong.stderr.count("\n") == 1
    assert "password authentication failed" in wrong.stderr
