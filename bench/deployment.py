"""A deployment to try things on: server processes on one Postgres and Redis, a counting model.

Each server has a port and a data directory of its own, and the same secrets. Every process is ended
by its pid; the Redis can be stopped, killed, emptied and started again, the servers killed.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import psutil
import redis

from server.dev_issuer import DevIssuer, load_or_create
from server.stores import Stores
from storage.control import Control, control
from storage.embedded.binaries import REDIS, locate
from tenancy.ids import PlanId, SubjectId, TenantId
from tenancy.plan import Plan, change_plan, new_plan
from tenancy.principal import Role
from tenancy.tenant import TenantStatus
from tests.support.commands import TENANTRY, free_port
from tests.support.stores import cluster, open_folder

START_SECONDS = 90
TOKEN_LIFE = timedelta(hours=6)
Limits = Mapping[str, int | str]
UNLIMITED: Limits = dict.fromkeys(
    (
        "requests_per_minute",
        "concurrent_runs",
        "tokens_per_minute",
        "tokens_per_day",
        "tokens_per_month",
    ),
    -1,
)


class RedisProcess:
    """A redis-server on a Unix socket that keeps what it was told, as the embedded one does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._binary = locate(REDIS, None).folder / "redis-server"
        self._socket = folder / "redis.sock"
        self.url = f"unix://{self._socket}"
        self.start()

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._socket.unlink(missing_ok=True)
        options = f"--port 0 --unixsocket {self._socket} --dir {self._folder} --save".split()
        self._process = subprocess.Popen(
            [self._binary, *options, "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"],
            stdout=subprocess.DEVNULL,
        )
        _wait(self._answers, "Redis")

    def stop(self) -> None:
        """Let it hang: connections stay open and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `stop`."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def _answers(self) -> bool:
        with suppress(redis.RedisError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False


class ServerProcess:
    """One `tenantry serve`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], secrets: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        folder.mkdir()
        shutil.copytree(secrets, folder / "secrets")
        port = self.url.rpartition(":")[2]
        self._environment = {
            **environment,
            "TENANTRY_DATA_DIR": str(folder),
            "TENANTRY_PORT": port,
        }
        self.launch()

    @property
    def pid(self) -> int:
        """Of the running process."""
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it said on standard error since its last start."""
        return (self._folder / "stderr").read_text()

    def launch(self) -> None:
        """Start it; `wait_ready` says when it serves."""
        with (self._folder / "stdout").open("w") as out, (self._folder / "stderr").open("w") as err:
            self._process = subprocess.Popen(
                [TENANTRY, "serve"], env=self._environment, stdout=out, stderr=err
            )

    def wait_ready(self) -> None:
        """Return when it serves."""
        _wait(self._is_ready, f"the server: {self._folder}")

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(self.errors)
        return "ready" in (self._folder / "stdout").read_text()

    def kill(self) -> None:
        """End it as the kernel would when memory is short."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Tell it to stop, and wait."""
        if self._process.poll() is None:
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(START_SECONDS)
            return
        self.kill()


@dataclass(slots=True)
class Deployment:
    """What runs, and the ways into it."""

    folder: Path
    stores: Stores
    redis: RedisProcess
    model_url: str
    model_pid: int
    issuer: DevIssuer
    environment: Mapping[str, str]
    servers: list[ServerProcess] = field(default_factory=list)
    _admin: Control | None = None
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def token(self, tenant: str, subject: str = "alice") -> str:
        """A token of the development issuer, of an admin of the tenant."""
        return self.issuer.sign(TenantId(tenant), SubjectId(subject), Role.ADMIN, TOKEN_LIFE)

    def add_tenants(self, tenants: Mapping[str, Limits]) -> None:
        """Make tenants, each on a plan of its own name; what is not said is unlimited."""
        with self._one_at_a_time, control(self.stores.owner()) as admin:
            for name, limits in tenants.items():
                admin.put_plan(plan_of(name, limits))
                admin.create_tenant(TenantId(name), name.title(), PlanId(name))

    def change(self, tenant: str, **limits: int | str) -> None:
        """Change limits of a tenant that runs."""
        said = {name: str(value) for name, value in limits.items()}
        with self._one_at_a_time, control(self.stores.owner()) as admin:
            plan = admin.plan(PlanId(tenant))
            assert plan is not None
            admin.put_plan(change_plan(plan, said))

    def suspend(self, tenant: str, *, suspended: bool) -> None:
        """Suspend a tenant, which cancels its runs, or serve it again."""
        status = TenantStatus.SUSPENDED if suspended else TenantStatus.ACTIVE
        with self._one_at_a_time, control(self.stores.owner()) as admin:
            admin.set_status(TenantId(tenant), status)

    def keeps(self, limits: Limits) -> bool:
        """Whether this build stores these fields of a plan, and so may heed them."""
        wanted = plan_of("probe", limits)
        with self._one_at_a_time, control(self.stores.owner()) as admin:
            admin.put_plan(wanted)
            kept = admin.plan(wanted.plan_id)
            admin.forget_plan(wanted.plan_id)
        return kept == wanted

    def tenantry(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command beside the servers, as who owns the database."""
        data_dir = self.folder / "commands"
        if not data_dir.exists():
            shutil.copytree(self.folder / "secrets", data_dir / "secrets")
        environment = {
            **self.environment,
            "TENANTRY_DATA_DIR": str(data_dir),
            "TENANTRY_OWNER_DATABASE_URL": self.stores.owner(),
        }
        return subprocess.run(
            [TENANTRY, *words], env=environment, capture_output=True, text=True, check=False
        )

    def reconcile(self) -> bool:
        """`tenantry reconcile`, and whether this build has it; raises when it fails."""
        done = self.tenantry("reconcile", "--json")
        if "No such command" in done.stderr:
            return False
        if done.returncode:
            raise RuntimeError(done.stderr)
        return True

    def restart(self, server: ServerProcess) -> None:
        """Kill a server and start it again on its port."""
        server.kill()
        server.launch()
        server.wait_ready()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time so far: of the servers, of Redis, of the model."""
        return {
            "servers": sum(map(_cpu, (server.pid for server in self.servers))),
            "redis": _cpu(self.redis.pid),
            "model": _cpu(self.model_pid),
        }


def plan_of(name: str, limits: Limits) -> Plan:
    """A plan of that name with these limits and no others."""
    said = {key: str(value) for key, value in {**UNLIMITED, "burst": 1000, **limits}.items()}
    return replace(new_plan(PlanId(name), said), models=("all",), tools=("all",))


@contextmanager
def deployment(
    servers: int, *, stores: Stores | None = None, **settings: str | int
) -> Iterator[Deployment]:
    """A running deployment with more `settings` in the servers' environment.

    On the database of `stores`, or on one of its own; its Redis is always its own.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        if stores is None:
            stores = stack.enter_context(stack.enter_context(cluster()).database())
        redis_process = RedisProcess(folder)
        stack.callback(redis_process.kill)
        model_url, model_pid = stack.enter_context(_counting_model())
        issuer = load_or_create(folder)
        extra = {name: str(value) for name, value in settings.items()}
        environment = _environment(stores, redis_process.url, model_url) | extra
        running = Deployment(
            folder, stores, redis_process, model_url, model_pid, issuer, environment
        )
        stack.callback(_end, running.servers)
        for number in range(servers):
            data_dir = folder / f"server-{number}"
            running.servers.append(ServerProcess(data_dir, environment, folder / "secrets"))
        for server in running.servers:
            server.wait_ready()
        yield running


def _environment(stores: Stores, redis_url: str, model_url: str) -> dict[str, str]:
    ours = ("TENANTRY_", "OPENAI_", "STUDIO_", "PG")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    assert stores.seal_key is not None
    assert stores.operator_url is not None
    return {
        **kept,
        "DATABASE_URL": stores.app_url,
        "TENANTRY_OPERATOR_DATABASE_URL": stores.operator_url,
        "REDIS_URL": redis_url,
        "TENANTRY_SEAL_KEY": stores.seal_key.text,
        "OPENAI_BASE_URL": f"{model_url}/v1",
        "TENANTRY_MODEL": "counting",
        "TENANTRY_EMBEDDING_MODEL": "counting-embeddings",
    }


@contextmanager
def _counting_model() -> Iterator[tuple[str, int]]:
    command = (sys.executable, "-m", "bench.counting_model")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[1], process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _end(servers: Sequence[ServerProcess]) -> None:
    for server in servers:
        server.end()


def _cpu(pid: int) -> float:
    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)
