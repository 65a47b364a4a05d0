"""What a copy of the latest checkpoint in Redis saves a turn on a thread.

    python -m bench.hot_context [--turns 1 10 20 60] [--characters 400] [--repeat 400]

Turns of a graph of three nodes, as the runner does them: opened, read, run, committed; no HTTP and
no model. Each thread has so many turns of a question and an answer of so many characters. In turn
with copies and without: statements to Postgres and commands to Redis of a turn, and the wall clock,
the CPU of this process and that of the stores, in microseconds, of the best batch of 40 turns;
and the size of the copy.
"""

import argparse
import asyncio
import os
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from redis.asyncio import Redis

from bench.thread_size import text_of
from server.stores import Stores
from storage.checkpointer import TenantPostgresSaver
from storage.redis_keys import Area, redis_key
from storage.threads import PostgresThreads
from tenancy.ids import ThreadId
from tests.storage.graphs import EFFECT, FREE, Graph, chain, open_turn
from tests.storage.makers import ACME, Trips, open_cells
from tests.support.stores import cluster

TICKS = os.sysconf("SC_CLK_TCK")
BATCH = 40
GRAPH: Graph = chain(("retrieve", FREE), ("respond", EFFECT), ("settle", FREE))
FIGURES = ("statements", "commands", "wall", "process", "stores")


async def nothing(*_given: Any) -> None:
    """Neither keeps nor finds a copy."""


def without() -> Any:
    """Runs that neither keep nor use copies."""
    return patch.multiple(TenantPostgresSaver, _keep_hot=nothing, _hot_row=nothing)


def ticks() -> int:
    """The CPU that the stores, the processes below this one, took so far."""
    taken, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            pid = int(folder.name)
            parents[pid], taken[pid] = int(fields[1]), int(fields[11]) + int(fields[12])
    return sum(ticks for pid, ticks in taken.items() if _is_below(pid, parents))


def _is_below(pid: int, parents: Mapping[int, int]) -> bool:
    while pid := parents.get(pid, 0):
        if pid == os.getpid():
            return True
    return False


class Thread:
    """A thread that has some turns behind it, and what further ones on it take."""

    def __init__(self, saver: TenantPostgresSaver, threads: PostgresThreads) -> None:
        self._saver, self._threads = saver, threads
        self.thread_id: ThreadId | None = None
        self.best: dict[str, float] = {}

    async def grow(self, said: list[str]) -> None:
        """Two turns, the first of which says everything."""
        await self._turn({"done": said})
        await self._turn("now")

    async def measure(self, trips: Trips, commands: list[str]) -> None:
        """A batch of turns."""
        trips.clear()
        commands.clear()
        theirs, mine, wall = ticks(), time.process_time(), time.perf_counter()
        for _ in range(BATCH):
            await self._turn("x")
        took = {
            "wall": (time.perf_counter() - wall) * 1e6,
            "process": (time.process_time() - mine) * 1e6,
            "stores": (ticks() - theirs) / TICKS * 1e6,
            "statements": len(trips),
            "commands": len(commands),
        }
        for name, figure in took.items():
            self.best[name] = min(self.best.get(name, figure), figure / BATCH)

    async def _turn(self, given: Any) -> None:
        turn = await open_turn(self._threads, self._saver, GRAPH, thread_id=self.thread_id)
        turn.record.keep = 1
        await turn.run(given)
        await turn.end()
        self.thread_id = turn.lease.thread_id


async def compare(stores: Stores, options: argparse.Namespace) -> None:
    """Print what turns take on threads of each length."""
    trips, commands = Trips(), list[str]()
    own = Redis.execute_command

    async def counted(self: Redis, *command: Any, **more: Any) -> Any:
        commands.append(str(command[0]))
        return await own(self, *command, **more)

    async with open_cells(stores, trips) as cells:
        saver = TenantPostgresSaver(cells)
        for turns in options.turns:
            said = [text_of(options.characters) for _ in range(2 * turns)]
            hot, cold = (Thread(saver, PostgresThreads(cells, saver)) for _ in range(2))
            for thread in (hot, cold):
                await thread.grow(said)
            with patch.object(Redis, "execute_command", counted):
                for _ in range(options.repeat // BATCH):
                    await hot.measure(trips, commands)
                    with without():
                        await cold.measure(trips, commands)
            key = redis_key(ACME, Area.HOT, f"thread/{hot.thread_id}")
            size = await cells.first.redis.execute_command("STRLEN", key)
            _tell(turns, size, hot.best, cold.best)


def _tell(turns: int, size: int, hot: Mapping[str, float], cold: Mapping[str, float]) -> None:
    pairs = (f"{name} {hot[name]:.0f} / {cold[name]:.0f}" for name in FIGURES)
    print(f"{turns:>3} turns, copy of {size:>6} bytes: {', '.join(pairs)}", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 10, 20, 60])
    parser.add_argument("--characters", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=400)
    random.seed(60)
    options = parser.parse_args()
    with cluster() as running, running.database() as stores:
        asyncio.run(compare(stores, options))


if __name__ == "__main__":
    main()
