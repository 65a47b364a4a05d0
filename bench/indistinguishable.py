"""Whether the time an answer takes tells somebody else's thing from one that never was.

    python -m bench.indistinguishable [--probes 2000] [--things 200] [--seed 1]

For every request that carries an id: as many probes, half for things of another tenant, half for
ids that nothing ever had, in pairs of random order. Prints the medians and their ratio, and beside
it the ratio of the medians of two halves of the second kind: what the machine's own noise makes
of it.
"""

import argparse
import asyncio
import itertools
import logging
import random
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from uuid import uuid4

import httpx
import structlog

from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.isolation.indistinguishable import never, plant
from tests.isolation.probes import PROBES, Probe
from tests.support.house import UNLIMITED, House, house
from tests.support.model_server import ModelServer
from tests.support.stores import cluster

ONCE = {"idempotency_key", "thread"}  # named in a request that succeeds, they are the asker's too
WARM = 50
Series = list[float]


async def measure(
    client: httpx.AsyncClient, probe: Probe, foreign: list[str], count: int, dice: random.Random
) -> tuple[Series, Series]:
    """Seconds for foreign things and for missing ones."""
    taken: tuple[Series, Series] = ([], [])
    turns = itertools.count()
    pairs = [dice.sample((0, 1), 2) for _ in range(count // 2)]
    for missing in [1] * WARM + [each for pair in pairs for each in pair]:
        request = probe.request(never(probe) if missing else foreign[next(turns) % len(foreign)])
        started = perf_counter()
        await client.request(**request)
        taken[missing].append(perf_counter() - started)
    return taken[0], taken[1][WARM:]


async def fresh(product: House, owner: TenantId, probe: Probe, count: int) -> list[str]:
    """Things of the owner's that nobody has named yet, for requests that succeed."""
    ids = [str(uuid4()) for _ in range(count)]
    async with product.client(owner, "boss", Role.ADMIN) as boss:
        for id_ in ids:
            await boss.request(**probe.request(id_))
    return ids


async def compare(product: House, count: int, things: int, dice: random.Random) -> float:
    """Print a line a probe; the ratio that is furthest from 1."""
    owner = await product.new_tenant("owner", **UNLIMITED)
    rival = await product.new_tenant("rival", **UNLIMITED)
    planted = await plant(product, owner, things)
    worst = 1.0
    async with product.client(rival, "boss", Role.ADMIN) as client:
        for probe in PROBES:
            found = planted[probe.thing]
            if probe.thing in ONCE and (probe.where == "header" or probe.path == "/v1/threads"):
                found = await fresh(product, owner, probe, count // 2)
            foreign, missing = await measure(client, probe, found, count, dice)
            ratio = median(foreign) / median(missing)
            noise = median(missing[::2]) / median(missing[1::2])
            worst = max(worst, ratio, 1 / ratio)
            print(
                f"{median(foreign) * 1e3:7.2f} {median(missing) * 1e3:7.2f} ms"
                f"  ratio {ratio:.3f}  noise {noise:.3f}  {probe}",
                flush=True,
            )
    return worst


async def run(count: int, things: int, seed: int) -> float:
    """On stores and a model of its own."""
    with cluster() as servers, servers.database() as stores, tempfile.TemporaryDirectory() as data:
        async with ModelServer() as model, house(stores, Path(data), model) as product:
            return await compare(product, count, things, random.Random(seed))  # noqa: S311


def main() -> None:
    """Print the ratios; exit with 1 when one is off by more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probes", type=int, default=2_000)
    parser.add_argument("--things", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    worst = asyncio.run(run(options.probes, options.things, options.seed))
    print(f"{len(PROBES)} requests, {options.probes} probes each, worst ratio {worst:.3f}")
    raise SystemExit(worst > 1.05)


if __name__ == "__main__":
    main()
