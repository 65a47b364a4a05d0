"""What a turn costs: CPU of the server, round trips to Postgres, commands to Redis.

    python -m bench.turn_cost [--requests 400] [--callers 8] [--follow-up] [--stream]

Everything on: token verified, quota, retrieval with embeddings of the model endpoint, checkpoint,
usage, audit. A zero-latency model serves answers and embeddings from a process of its own. CPU is
that of the server's process tree; Postgres and Redis are not in it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import psutil
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.proxy import Count, counting_proxy
from storage import embedded, roles
from storage.control import control
from storage.migrations import migrate
from storage.seal import SealKey
from tenancy.ids import PlanId, TenantId
from tenancy.plan import new_plan

TENANT = TenantId("bench")
PASSWORDS = dict.fromkeys((roles.OWNER, roles.APP, roles.OPERATOR), "bench")
SEAL_KEY = SealKey("a-seal-key-of-benchmarks-alone-0")
DOCUMENTS = 20


def cpu_seconds(pid: int) -> float:
    """User and system time of a process tree so far."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


@contextmanager
def model_server() -> Iterator[str]:
    """A zero-latency model in a process of its own; its base URL."""
    command = (sys.executable, "-m", "tests.support.model_server", "--port", "0")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[1]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def prepare(postgres_url: str) -> str:
    """A migrated database with one tenant without limits; the app's URL."""
    urls = roles.create_roles(postgres_url, PASSWORDS, "bench")
    migrate(urls.owner)
    limits = "requests_per_minute concurrent_runs tokens_per_minute tokens_per_day tokens_per_month"
    unlimited = dict.fromkeys(limits.split(), "-1") | {"documents": "-1", "max_output_tokens": "64"}
    with control(urls.owner) as admin:
        admin.seed()
        admin.seal(SEAL_KEY)
        admin.put_plan(new_plan(PlanId("bench"), unlimited))
        admin.create_tenant(TENANT, "Bench", PlanId("bench"))
    return urls.app


async def drive(url: str, token: str, options: argparse.Namespace, amount: int) -> int:
    """Ask `amount` questions from `callers` callers, each with its own words; returns failures."""
    headers = {"Authorization": f"Bearer {token}"}
    failures = 0

    async def caller(session: aiohttp.ClientSession, questions: int) -> None:
        nonlocal failures
        thread = None
        for _ in range(questions):
            body = {"message": f"What about {uuid4().hex[:12]}?", "stream": options.stream}
            if options.follow_up and thread is not None:
                body["thread_id"] = thread
            async with session.post(f"{url}/v1/chat", json=body) as response:
                text = await response.text()
                failures += response.status != 200
                thread = None if options.stream else json.loads(text).get("thread_id")

    async with aiohttp.ClientSession(headers=headers) as session:
        share = amount // options.callers
        await asyncio.gather(*(caller(session, share) for _ in range(options.callers)))
    return failures


async def add_documents(url: str, token: str) -> None:
    """A small library, so that retrieval has something to find."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in range(DOCUMENTS):
            form = aiohttp.FormData()
            text = "\n\n".join(f"Item {n} of list {number} costs {n * 7} EUR." for n in range(40))
            form.add_field("file", text, filename=f"list-{number}.txt")
            async with session.post(f"{url}/v1/documents", data=form) as response:
                assert response.status == 201, await response.text()


def commands(redis_url: str) -> int:
    """Commands that Redis has processed so far, those of scripts included as one each."""
    with redis.Redis.from_url(redis_url) as client:
        stats = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """One measurement on stores of its own."""
    with embedded.start(folder / "stores") as running:
        postgres_url, redis_url = running.servers.postgres_url, running.servers.redis_url
        assert postgres_url
        assert redis_url
        app_url = await asyncio.to_thread(prepare, running.servers.postgres_tcp_url or postgres_url)
        place = conninfo_to_dict(app_url)
        target = (str(place["host"]), int(str(place["port"])))
        proxy, port, count = await counting_proxy(target)
        with model_server() as base_url:
            env = {
                **os.environ,
                "DATABASE_URL": make_conninfo(app_url, host="127.0.0.1", port=port),
                "REDIS_URL": redis_url,
                "TENANTRY_SEAL_KEY": SEAL_KEY.text,
                "OPENAI_BASE_URL": base_url,
                "TENANTRY_MODEL": "bench",
                "TENANTRY_EMBEDDING_MODEL": "bench-embeddings",
                "TENANTRY_DATA_DIR": str(folder / "data"),
                "TENANTRY_PORT": "0",
            }
            result = await _serve_and_drive(options, env, redis_url, count)
        proxy.close()
        return result


async def _serve_and_drive(
    options: argparse.Namespace, env: dict[str, str], redis_url: str, count: Count
) -> dict[str, object]:
    command = (sys.executable, "-m", "server.cli", "serve")
    started = time.perf_counter()
    server = await asyncio.to_thread(
        subprocess.Popen, command, env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = await asyncio.to_thread(server.stdout.readline)
        ready, url = time.perf_counter() - started, line.split()[1]
        token = _token(env["TENANTRY_DATA_DIR"])
        await add_documents(url, token)
        await drive(url, token, options, options.callers * 5)  # warm up
        before = cpu_seconds(server.pid), count.trips, commands(redis_url)
        began = time.perf_counter()
        failures = await drive(url, token, options, options.requests)
        wall = time.perf_counter() - began
        after = cpu_seconds(server.pid), count.trips, commands(redis_url)
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    cpu, trips, calls = (b - a for a, b in zip(before, after, strict=True))
    requests = options.requests // options.callers * options.callers
    return {
        "requests": requests,
        "failures": failures,
        "cpu_ms_per_request": round(1000 * cpu / requests, 2),
        "postgres_round_trips_per_request": round(trips / requests, 2),
        "redis_calls_per_request": round(calls / requests, 2),
        "requests_per_second": round(requests / wall, 1),
        "ready_after_seconds": round(ready, 1),
    }


def _token(data_dir: str) -> str:
    from datetime import timedelta

    from server.dev_issuer import load_or_create
    from tenancy.ids import SubjectId
    from tenancy.principal import Role

    issuer = load_or_create(Path(data_dir))
    return issuer.sign(TENANT, SubjectId("bench"), Role.ADMIN, timedelta(hours=1))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--callers", type=int, default=8)
    parser.add_argument("--follow-up", action="store_true", help="stay on one thread a caller")
    parser.add_argument("--stream", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(options, Path(folder)))))


if __name__ == "__main__":
    main()
