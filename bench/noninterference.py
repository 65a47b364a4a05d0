"""Whether what a tenant sees depends on who else is there: 100 scripts in 3 worlds, to the byte.

python -m bench.noninterference [--scripts 100] [--seed 1]
"""

import argparse
import asyncio
import logging
from collections import Counter
from time import perf_counter

import structlog

from tests.isolation.noninterference import (
    Entries,
    Script,
    beside_anything,
    beside_the_same,
    difference,
    transcripts,
    transcripts_alone,
)
from tests.support.stores import cluster

WORLDS = {
    "beside neighbours that do the same": beside_the_same,
    "beside neighbours that do everything else": beside_anything,
}


async def run(scripts: list[Script]) -> int:
    """Print what was compared and each difference; how many there are."""
    found = 0
    with cluster() as servers:
        started = perf_counter()
        alone = await transcripts_alone(servers, scripts)
        print(f"{len(scripts)} scripts alone in {perf_counter() - started:.0f} s", flush=True)
        _describe(alone)
        for name, world in WORLDS.items():
            started = perf_counter()
            beside = await transcripts(servers, world, scripts)
            found += _compare(scripts, alone, beside)
            print(f"{len(scripts)} {name} in {perf_counter() - started:.0f} s", flush=True)
            for entry in beside.get("", []):
                if entry.startswith(b"neighbours"):
                    print(entry.decode())
    return found


def _describe(transcripts_: dict[str, Entries]) -> None:
    entries = [entry for each in transcripts_.values() for entry in each]
    kinds = Counter(entry.split(b"\n")[0].decode().partition(" ")[0] for entry in entries)
    size = sum(map(len, entries)) / 2**20
    print(f"{size:.1f} MiB:", ", ".join(f"{n} {kind}" for kind, n in kinds.most_common()))


def _compare(scripts: list[Script], alone: dict[str, Entries], beside: dict[str, Entries]) -> int:
    found = 0
    for script in scripts:
        if parted := difference(alone[script.tenant], beside[script.tenant]):
            found += 1
            print(f"{script}: {parted}")
    return found


def main() -> None:
    """Print the counts; exit with 1 when a transcript differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scripts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    scripts = [Script(options.seed, number) for number in range(options.scripts)]
    found = asyncio.run(run(scripts))
    print(f"{len(scripts)} scripts in 3 worlds, {found} transcripts differ")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
