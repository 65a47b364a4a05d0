"""How many foreign rows two pooled connections show to 500 tenants, while callers are cancelled and
backends are killed.

    python -m bench.pool_torture [--tenants 500] [--reads 100000] [--seed 1]
"""

import argparse
import asyncio
import logging

from tests.isolation.pool_torture import Tally, torture
from tests.support.stores import cluster


async def attack(tenants: int, reads: int, seed: int) -> Tally:
    """On a Postgres of its own."""
    with cluster() as servers, servers.database() as stores:
        async with torture(stores, tenants, seed) as pool:
            return await pool.run(reads)


def main() -> None:
    """Print the counts; exit with 1 when a row was foreign or missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tenants", type=int, default=500)
    parser.add_argument("--reads", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it tells of every killed backend
    tally = asyncio.run(attack(options.tenants, options.reads, options.seed))
    print(
        f"{tally.reads} reads answered, {tally.foreign} foreign rows, {tally.missing} own missing"
    )
    for kind, count in sorted(tally.interfered.items()):
        print(f"{count:8} {kind}")
    raise SystemExit(bool(tally.foreign or tally.missing))


if __name__ == "__main__":
    main()
