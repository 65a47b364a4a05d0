"""Superseded checkpoints go when a run ends: no message is lost, and no living run is harmed."""

import asyncio

import pytest
from langgraph.types import Command, interrupt

from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.threads import PostgresThreads
from tenancy.errors import LeaseLost, ThreadBusy
from tenancy.ids import ThreadId
from tests.storage.graphs import CLOSING, EFFECT, FREE, PAID, Graph, Turn, chain, open_turn
from tests.storage.makers import ACME, rows, value

STEPS = [("look", FREE), ("think", PAID), ("act", EFFECT), ("close", CLOSING)]
ONE_TURN = ["question", "look", "think", "act", "close"]
EVERY_THREAD = 10_000


async def stored(cells: Cells, thread_id: ThreadId) -> int:
    """How many checkpoints a thread has."""
    return await value(
        cells,
        "select count(*) from checkpoints where thread_id = %(thread)s",
        thread=str(thread_id),
    )


async def orphans(cells: Cells, thread_id: ThreadId) -> int:
    """Blobs and writes that no checkpoint of the thread needs."""
    return await value(
        cells,
        """select (select count(*) from checkpoint_blobs b where b.thread_id = %(thread)s
                     and not exists (select from checkpoints c where c.thread_id = b.thread_id
                                      and c.checkpoint->'channel_versions'->>b.channel = b.version))
                + (select count(*) from checkpoint_writes w where w.thread_id = %(thread)s
                     and not exists (select from checkpoints c where c.thread_id = w.thread_id
                                      and c.checkpoint_id = w.checkpoint_id))""",
        thread=str(thread_id),
    )


async def one_turn(
    threads: PostgresThreads,
    saver: TenantPostgresSaver,
    graph: Graph,
    *,
    thread_id: ThreadId | None = None,
    keep: int = 1,
) -> Turn:
    turn = await open_turn(threads, saver, graph, thread_id=thread_id)
    turn.record.keep = keep
    await turn.run()
    await turn.end()
    return turn


async def said(saver: TenantPostgresSaver, turn: Turn) -> list[str]:
    found = await saver.for_tenant(turn.lease.tenant_id).aget_tuple(turn.config)
    return found.checkpoint["channel_values"]["done"] if found else []


async def test_after_a_run_the_latest_checkpoint_has_the_whole_conversation(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    graph = chain(*STEPS)
    turn = await one_turn(threads, saver, graph)
    for turns in range(2, 5):
        await one_turn(threads, saver, graph, thread_id=turn.lease.thread_id)
        assert await stored(cells, turn.lease.thread_id) == 1
        assert await orphans(cells, turn.lease.thread_id) == 0
        assert await said(saver, turn) == ONE_TURN * turns


async def test_without_a_figure_everything_is_kept(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await one_turn(threads, saver, chain(*STEPS), keep=-1)
    assert await stored(cells, turn.lease.thread_id) > 1


async def test_what_an_interrupt_waits_for_is_kept(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    async def ask(state: object) -> dict[str, list[str]]:
        return {"done": [interrupt("may I?")]}

    graph = chain(*STEPS, act=ask)
    turn = await one_turn(threads, saver, graph)
    assert await stored(cells, turn.lease.thread_id) == 1
    again = await open_turn(threads, saver, graph, thread_id=turn.lease.thread_id)
    again.record.keep = 1
    state = await again.run(Command(resume="you may"))
    await again.end()
    assert state["done"] == ["question", "look", "think", "you may", "close"]
    assert await stored(cells, turn.lease.thread_id) == 1


async def test_a_run_that_lost_its_thread_prunes_nothing(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    graph = chain(*STEPS)
    first = await one_turn(threads, saver, graph, keep=-1)
    thread = first.lease.thread_id
    late = await open_turn(threads, saver, graph, thread_id=thread)
    late.record.keep = 1
    expire = "update threads set lease_until = now() where thread_id = %(thread)s returning 1"
    await rows(cells, expire, thread=thread)
    await open_turn(threads, saver, graph, thread_id=thread)
    before = await stored(cells, thread)
    with pytest.raises(LeaseLost):
        await late.end()
    assert await stored(cells, thread) == before


async def test_old_threads_are_pruned_at_once_and_those_of_living_runs_are_not(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    graph = chain(*STEPS)
    idle = await one_turn(threads, saver, graph, keep=-1)
    busy = await one_turn(threads, saver, graph, keep=-1)
    await open_turn(threads, saver, graph, thread_id=busy.lease.thread_id)
    before = await stored(cells, busy.lease.thread_id)
    assert await threads.prune(ACME, 1, EVERY_THREAD) > 0
    assert await stored(cells, idle.lease.thread_id) == 1
    assert await orphans(cells, idle.lease.thread_id) == 0
    assert await said(saver, idle) == ONE_TURN
    assert await stored(cells, busy.lease.thread_id) == before


async def test_pruning_beside_turns_loses_nothing_of_them(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    graph, ended = chain(*STEPS), asyncio.Event()

    async def talk(turns: int) -> Turn:
        turn = await one_turn(threads, saver, graph, keep=-1)
        done = 1
        while done < turns:
            try:
                await one_turn(threads, saver, graph, thread_id=turn.lease.thread_id, keep=-1)
            except ThreadBusy:
                continue
            done += 1
        return turn

    async def prune() -> None:
        while not ended.is_set():
            await threads.prune(ACME, 1, EVERY_THREAD)

    pruning = asyncio.create_task(prune())
    talked = await asyncio.gather(*(talk(6) for _ in range(4)))
    ended.set()
    await pruning
    for turn in talked:
        assert await said(saver, turn) == ONE_TURN * 6
