"""How many words of other tenants 50 tenants meet, all busy at once on one house.

python -m bench.random_operations [--tenants 50] [--operations 20000] [--seed 1]
"""

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path
from time import perf_counter

import structlog

from tests.isolation.random_operations import Tally, crowd
from tests.support.house import house
from tests.support.model_server import ModelServer
from tests.support.stores import cluster


async def run(tenants: int, operations: int, seed: int) -> Tally:
    """On stores and a model of its own."""
    with cluster() as servers, servers.database() as stores, tempfile.TemporaryDirectory() as data:
        async with (
            ModelServer() as model,
            house(stores, Path(data), model) as product,
            crowd(product, tenants, seed) as guests,
        ):
            return await guests.run(operations)


def main() -> None:
    """Print the counts; exit with 1 when a word was foreign."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    started = perf_counter()
    tally = asyncio.run(run(options.tenants, options.operations, options.seed))
    for kind, count in tally.operations.most_common():
        print(f"{count:8} {kind}")
    print("statuses:", ", ".join(f"{n} of {code}" for code, n in sorted(tally.statuses.items())))
    for where, size in tally.scanned.items():
        print(f"{where}: {size / 2**20:.1f} MiB scanned, {tally.own[where]} own words in it")
    for sighting in tally.foreign[:20]:
        print(sighting)
    print(
        f"{tally.operations.total()} operations of {options.tenants} tenants in"
        f" {perf_counter() - started:.0f} s, {len(tally.foreign)} foreign words"
    )
    raise SystemExit(bool(tally.foreign))


if __name__ == "__main__":
    main()
