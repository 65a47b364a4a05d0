"""What one admission costs: CPU of the server's process and of Redis, round trips, commands.

    python -m bench.admission_cost [--admissions 20000] [--tenants 100] [--callers 8]

On a Redis of its own, through the store that the server uses. Runs are released in between, which
is not in the figures; our side includes the client's share of the event loop.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import psutil
from redis.asyncio import Redis

from bench.deployment import RedisProcess, plan_of
from storage.quota import RedisQuota
from storage.redis_client import connect
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import Plan
from tenancy.quota import Claim
from tests.support.stores import open_folder

HOLD, WANTED = 2_000, 10_000
WAVE = 500  # admissions between two releases of all of them
READS = 2  # round trips that a reading costs
Run = tuple[TenantId, RunId]
PLAN = plan_of(
    "bench",
    {
        "requests_per_minute": 10**9,
        "burst": 10**6,
        "concurrent_runs": 10**6,
        "tokens_per_minute": 10**12,
        "tokens_per_day": 10**13,
        "tokens_per_month": 10**14,
    },
)


async def admit(quota: RedisQuota, tenant_id: TenantId, plan: Plan, run_id: RunId) -> bool:
    """One admission, as `check_quota` makes it."""
    verdict = await quota.admit(
        tenant_id,
        plan,
        run_id=run_id,
        subject_id=SubjectId("alice"),
        offers=[Claim(HOLD)],
        wanted=Claim(WANTED),
    )
    return verdict.admitted


@dataclass(frozen=True, slots=True)
class Reading:
    """What has been spent until now, or between two readings."""

    client: float = 0
    redis: float = 0
    reads: int = 0
    scripts: int = 0
    commands: int = 0

    def since(self, before: "Reading") -> "Reading":
        """Without what had been spent before, and without what reading itself costs Redis."""
        return Reading(
            self.client - before.client,
            self.redis - before.redis,
            self.reads - before.reads - READS,
            self.scripts - before.scripts,
            self.commands - before.commands - READS,
        )

    def __add__(self, other: "Reading") -> "Reading":
        return Reading(
            self.client + other.client,
            self.redis + other.redis,
            self.reads + other.reads,
            self.scripts + other.scripts,
            self.commands + other.commands,
        )


NOTHING = Reading()


@dataclass(frozen=True, slots=True)
class Figures:
    """What all admissions took together."""

    spent: Reading
    admissions: int
    refused: int

    @property
    def client_microseconds(self) -> float:
        """CPU of our side, for one."""
        return self.spent.client / self.admissions * 1e6

    @property
    def redis_microseconds(self) -> float:
        """CPU of Redis, for one."""
        return self.spent.redis / self.admissions * 1e6

    @property
    def round_trips(self) -> float:
        """Times Redis read from a connection, for one."""
        return self.spent.reads / self.admissions


async def read(redis: Redis, pid: int) -> Reading:
    """The counters of both processes."""
    stats = await redis.info("stats")
    commands: Mapping[str, Mapping[str, int]] = await redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): row["calls"] for name, row in commands.items()}
    scripts = calls.get("evalsha", 0) + calls.get("eval", 0) + calls.get("fcall", 0)
    times = psutil.Process(pid).cpu_times()
    reads = stats["total_reads_processed"]
    spent = times.user + times.system
    return Reading(time.process_time(), spent, reads, scripts, sum(calls.values()) - scripts)


async def _wave(quota: RedisQuota, runs: Sequence[Run], callers: int) -> int:
    """Admit these runs, as many at a time as there are callers; how many were refused."""
    refused, waiting = 0, iter(runs)

    async def caller() -> None:
        nonlocal refused
        for tenant_id, run_id in waiting:
            refused += not await admit(quota, tenant_id, PLAN, run_id)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return refused


async def measure(amount: int, tenants: int, callers: int) -> Figures:
    """On a Redis of its own."""
    spent, refused = NOTHING, 0
    with open_folder() as folder:
        server = RedisProcess(folder)
        redis = connect(server.url)
        try:
            quota = RedisQuota(redis)
            for wave in range(-1, amount // WAVE):  # the first one warms up
                numbers = range(wave * WAVE, (wave + 1) * WAVE)
                runs = [(TenantId(f"t{number % tenants}"), RunId(uuid4())) for number in numbers]
                before = await read(redis, server.pid)
                refused += await _wave(quota, runs, callers)
                spent += (await read(redis, server.pid)).since(before) if wave >= 0 else NOTHING
                for tenant_id, run_id in runs:
                    await quota.release(tenant_id, run_id)
        finally:
            await redis.aclose()
            server.kill()
    return Figures(spent, amount // WAVE * WAVE, refused)


def main() -> None:
    """Print the figures; exit with 1 when an admission takes over 0.3 ms or a second round trip."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--admissions", type=int, default=20_000)
    parser.add_argument("--tenants", type=int, default=100)
    parser.add_argument("--callers", type=int, default=8)
    options = parser.parse_args()
    found = asyncio.run(measure(options.admissions, options.tenants, options.callers))
    total = found.client_microseconds + found.redis_microseconds
    print(f"{found.admissions} admissions, {found.refused} refused")
    print(f"CPU          {total:6.1f} µs an admission (at most 300)")
    print(f"  our side   {found.client_microseconds:6.1f} µs")
    print(f"  Redis      {found.redis_microseconds:6.1f} µs")
    print(f"round trips  {found.round_trips:6.3f}")
    print(f"commands     {found.spent.commands / found.admissions:6.1f} inside a script")
    raise SystemExit(total > 300 or found.round_trips > 1 or bool(found.refused))


if __name__ == "__main__":
    main()
