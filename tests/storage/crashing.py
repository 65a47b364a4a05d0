"""Turns in processes that are killed; started by `test_crashes.py`.

    python -m tests.storage.crashing APP_URL REDIS_URL LOG KILLS

Forks one process a kill. One half dies at random moments, the other when an effect has just begun:
there is little time between that and its answer. Each writes down, before it does anything, what it
is about to do: a line in LOG is on the disk's cache and survives a SIGKILL.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before langgraph is imported

from server.stores import Stores
from storage.checkpointer import TenantPostgresSaver
from storage.threads import PostgresThreads
from tests.storage.graphs import CLOSING, EFFECT, FREE, PAID, Graph, Turn, chain, open_turn
from tests.storage.makers import open_cells, usage_event
from tests.support.stores import SEAL_KEY

DICE = random.Random(11)  # noqa: S311  # the same moments every time, as far as a machine allows
LONGEST_LIFE = 0.1  # seconds after its first turn


class Log:
    """Lines that other processes can read after a SIGKILL; a `listener` hears each deed."""

    def __init__(self, path: Path, listener: int | None = None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._listener = listener

    def add(self, deed: str, what: object) -> None:
        os.write(self._file, f"{deed} {what}\n".encode())
        if self._listener is not None:
            os.write(self._listener, f"{deed}\n".encode())


def turn_graph(log: Log) -> Graph:
    """Free, paid, effect, closing: each notes in the log which question it works for."""

    def noting(name: str) -> Any:
        async def work(state: Any) -> dict[str, Any]:
            question = next(said for said in reversed(state["done"]) if said.startswith("q-"))
            log.add(name, question)
            await asyncio.sleep(DICE.uniform(0, 0.004))
            return {"done": [f"{name}-of-{question}"]}

        return work

    nodes = [("look", FREE), ("think", PAID), ("effect", EFFECT), ("close", CLOSING)]
    return chain(*nodes, **{name: noting(name) for name, _ in nodes})


async def turns(stores: Stores, log: Log) -> None:
    """Turns for ever: three on a thread, then a new one."""
    async with open_cells(stores, size=2) as cells:
        saver = TenantPostgresSaver(cells)
        threads, thread_id, number = PostgresThreads(cells, saver), None, 0
        while True:
            turn = await open_turn(
                threads, saver, turn_graph(log), thread_id=thread_id, admitted=False
            )
            log.add("opened", turn.lease.thread_id)
            await one(turn, log)
            number += 1
            thread_id = turn.lease.thread_id if number % 3 else None


async def one(turn: Turn, log: Log) -> None:
    question = f"q-{turn.lease.run_id}"
    await turn.saver.admit()
    await turn.run(question)
    turn.record.usage.append(usage_event(turn.lease.run_id))
    turn.record.keep = 1
    await turn.end()
    log.add("acknowledged", question)


def kill_some(stores: Stores, log: Path, kills: int) -> None:
    for number in range(kills):
        hears, tells = os.pipe()
        child = os.fork()
        if child == 0:
            DICE.seed(os.getpid())
            asyncio.run(turns(stores, Log(log, tells)))
        os.close(tells)
        with os.fdopen(hears) as deeds:
            wait_for("acknowledged", deeds)  # each life is worth something
            if number % 2:
                wait_for("effect", deeds)
            else:
                time.sleep(DICE.uniform(0, LONGEST_LIFE))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def wait_for(deed: str, deeds: Iterable[str]) -> None:
    next(each for each in deeds if each == f"{deed}\n")


if __name__ == "__main__":
    app_url, redis_url, log_file, number_of_kills = sys.argv[1:]
    kill_some(Stores(app_url, redis_url, SEAL_KEY), Path(log_file), int(number_of_kills))
