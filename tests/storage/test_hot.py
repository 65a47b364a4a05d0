"""A thread's copy in Redis: used where it is of the latest checkpoint, and never otherwise."""

import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from server.stores import Stores
from storage import postgres, redis_client
from storage.cells import Cell, Cells
from storage.checkpointer import TenantPostgresSaver
from storage.hot import (
    CLOSED_SECONDS,
    DROPPED_AT_ONCE,
    LIFE_SECONDS,
    MAX_BYTES,
    HotThreads,
    drop_copies,
)
from storage.redis_keys import Area, redis_key
from storage.threads import PostgresThreads
from tenancy.errors import Unavailable
from tenancy.ids import TenantId, ThreadId
from tests.storage.graphs import EFFECT, FREE, Turn, chain, fan, open_turn
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event, principal
from tests.storage.redis_server import RedisServer

LINE = chain(("one", FREE), ("two", EFFECT), ("three", FREE))
FORK = fan(EFFECT)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.close()


@pytest.fixture
async def cells(stores: Stores, redis: RedisServer, trips: Trips) -> AsyncIterator[Cells]:
    """A process of the test's own, with a Redis of its own."""
    pool = postgres.Pool(stores.app, size=4)
    assert isinstance(pool.kwargs, dict)
    pool.kwargs["cursor_factory"] = trips.cursors()
    cell = Cell("first", pool, redis_client.connect(redis.url))
    await cell.open()
    await cell.redis.execute_command("FLUSHALL")
    yield Cells(cell)
    await cell.close()


@pytest.fixture
async def saver(cells: Cells) -> TenantPostgresSaver:
    return TenantPostgresSaver(cells)


@pytest.fixture
def threads(cells: Cells, saver: TenantPostgresSaver) -> PostgresThreads:
    return PostgresThreads(cells, saver)


def key_of(thread: ThreadId, tenant: Any = ACME) -> str:
    return redis_key(tenant, Area.HOT, f"thread/{thread}")


async def turns(
    threads: PostgresThreads,
    saver: TenantPostgresSaver,
    count: int,
    thread: ThreadId | None = None,
    text: str = "question",
) -> ThreadId:
    """A thread after so many turns, or more of them on one."""
    for _ in range(count):
        turn = await open_turn(threads, saver, LINE, thread_id=thread)
        await turn.run(text)
        await turn.end()
        thread = turn.lease.thread_id
    assert thread is not None
    return thread


async def turn_of_globex(
    threads: PostgresThreads, saver: TenantPostgresSaver, thread: ThreadId | None = None
) -> ThreadId:
    turn = await open_turn(threads, saver, LINE, thread_id=thread, who=principal(GLOBEX, "eve"))
    await turn.run("globex's")
    await turn.end()
    return turn.lease.thread_id


async def copies(cells: Cells, tenant: Any = ACME) -> set[str]:
    """The keys of a tenant's copies."""
    begins = redis_key(tenant, Area.HOT, "thread/")
    redis = cells.first.redis
    return {key.decode() async for key in redis.scan_iter(match=f"{begins}*", count=1000)}


async def both(turn: Turn) -> tuple[Any, Any]:
    """What the run reads, and what Postgres has."""
    config: Any = {"configurable": {"thread_id": str(turn.lease.thread_id)}}
    stored = await turn.saver.for_tenant(turn.lease.tenant_id).aget_tuple(config)
    return await turn.saver.aget_tuple(config), stored


async def reads_postgres(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, thread: ThreadId
) -> bool:
    """Whether the next run of a thread does; what it reads is what Postgres has."""
    turn = await open_turn(threads, saver, LINE, thread_id=thread)
    read, stored = await both(turn)
    assert read == stored
    trips.clear()
    await turn.run()
    await turn.end()
    return "get_checkpoint" in trips


async def test_the_third_turn_on_reads_redis(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    thread = await turns(threads, saver, 1)
    assert await cells.first.redis.execute_command("EXISTS", key_of(thread)) == 0
    assert await reads_postgres(threads, saver, trips, thread)
    assert not await reads_postgres(threads, saver, trips, thread)
    ttl = await cells.first.redis.execute_command("TTL", key_of(thread))
    assert 0 < ttl <= LIFE_SECONDS


async def test_a_flushed_redis_costs_a_read(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    thread = await turns(threads, saver, 3)
    await cells.first.redis.execute_command("FLUSHALL")
    assert await reads_postgres(threads, saver, trips, thread)
    assert not await reads_postgres(threads, saver, trips, thread)


async def test_an_old_copy_is_not_used(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    thread = await turns(threads, saver, 2)
    old = await cells.first.redis.execute_command("GET", key_of(thread))
    await turns(threads, saver, 1, thread)
    await cells.first.redis.execute_command("SET", key_of(thread), old)
    assert await reads_postgres(threads, saver, trips, thread)


async def test_the_copy_of_another_thread_or_tenant_is_not_used(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    ask = cells.first.redis.execute_command
    thread, other = [await turns(threads, saver, 2) for _ in range(2)]
    foreign = await turn_of_globex(threads, saver)
    await turn_of_globex(threads, saver, foreign)
    for theirs in (key_of(other), key_of(foreign, GLOBEX)):
        await ask("SET", key_of(thread), await ask("GET", theirs))
        assert await reads_postgres(threads, saver, trips, thread)


async def test_a_forged_copy_is_not_used(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    ask = cells.first.redis.execute_command
    thread = await turns(threads, saver, 2)
    honest = await ask("GET", key_of(thread))
    for forged in (b"", b"x", honest[:-1], honest.replace(b"question", b"quession")):
        await ask("SET", key_of(thread), forged)
        assert await reads_postgres(threads, saver, trips, thread)
    await ask("DEL", key_of(thread))
    await ask("LPUSH", key_of(thread), "no text")
    assert await reads_postgres(threads, saver, trips, thread)


@pytest.mark.parametrize(
    ("tenant", "thread"), [(GLOBEX, "one"), (ACME, "its copy")], ids=["tenant", "thread"]
)
async def test_a_copy_under_another_name_is_not_used_though_it_is_of_that_checkpoint(
    cells: Cells, tenant: TenantId, thread: str
) -> None:
    ask, hot, cell = cells.first.redis.execute_command, HotThreads(), cells.first
    row = {"thread_id": "one", "checkpoint_id": "c", "channel_values": []}
    await hot.put(cell, ACME, row)
    assert await hot.get(cell, ACME, "one", "c") is not None
    copy = await ask("GET", redis_key(ACME, Area.HOT, "thread/one"))
    await ask("SET", redis_key(tenant, Area.HOT, f"thread/{thread}"), copy)
    assert await hot.get(cell, tenant, thread, "c") is None


async def test_a_large_thread_has_no_copy(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    thread = await turns(threads, saver, 2)
    await turns(threads, saver, 1, thread, text="x" * MAX_BYTES)
    assert await cells.first.redis.execute_command("EXISTS", key_of(thread)) == 0
    assert await reads_postgres(threads, saver, trips, thread)


async def test_what_waits_on_a_checkpoint_is_read_from_postgres(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips
) -> None:
    async def fails(_state: Any) -> None:
        raise RuntimeError("broken")

    thread = await turns(threads, saver, 2)
    broken = chain(("one", FREE), ("two", EFFECT), two=fails)
    turn = await open_turn(threads, saver, broken, thread_id=thread)
    with pytest.raises(RuntimeError):
        await turn.run()
    await turn.end("error")
    assert await reads_postgres(threads, saver, trips, thread)


async def test_a_deleted_thread_leaves_nothing(
    threads: PostgresThreads, saver: TenantPostgresSaver, cells: Cells
) -> None:
    thread = await turns(threads, saver, 2)
    await threads.delete(principal(), thread, audit_event())
    assert await cells.first.redis.execute_command("EXISTS", key_of(thread)) == 0


async def test_off_no_copy_is_made_or_used(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    off = TenantPostgresSaver(cells, HotThreads(on=False))
    thread = await turns(threads, off, 2)
    assert await cells.first.redis.execute_command("EXISTS", key_of(thread)) == 0
    await turns(threads, saver, 1, thread)
    assert not await reads_postgres(threads, saver, trips, thread)
    assert await reads_postgres(threads, off, trips, thread)


async def test_a_thread_is_deleted_with_its_copy_where_copies_are_off_now(
    threads: PostgresThreads, saver: TenantPostgresSaver, cells: Cells
) -> None:
    thread = await turns(threads, saver, 2)
    off = TenantPostgresSaver(cells, HotThreads(on=False))
    await PostgresThreads(cells, off).delete(principal(), thread, audit_event())
    assert await cells.first.redis.execute_command("EXISTS", key_of(thread)) == 0


async def test_all_copies_of_one_tenant_are_dropped(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, cells: Cells
) -> None:
    known = [await turns(threads, saver, 2) for _ in range(3)]
    theirs = await turn_of_globex(threads, saver)
    await turn_of_globex(threads, saver, theirs)
    await drop_copies(cells.first.redis, ACME)
    assert await copies(cells) == set()
    assert await copies(cells, GLOBEX) == {key_of(theirs, GLOBEX)}
    assert [await reads_postgres(threads, saver, trips, each) for each in known] == [True] * 3


async def test_more_copies_than_go_at_once_are_all_dropped(cells: Cells) -> None:
    ask, hot = cells.first.redis.execute_command, HotThreads()
    for number in range(DROPPED_AT_ONCE + 1):
        await hot.put(cells.first, ACME, {"thread_id": f"t{number}", "channel_values": []})
    assert len(await copies(cells)) == DROPPED_AT_ONCE + 1
    await drop_copies(cells.first.redis, ACME)
    assert await copies(cells) == set()
    assert await ask("EXISTS", redis_key(ACME, Area.HOT, "copies")) == 0


async def test_what_still_runs_leaves_no_copy_behind(
    threads: PostgresThreads, saver: TenantPostgresSaver, cells: Cells
) -> None:
    ask, closed = cells.first.redis.execute_command, redis_key(ACME, Area.HOT, "closed")
    thread = await turns(threads, saver, 2)
    await drop_copies(cells.first.redis, ACME)
    await turns(threads, saver, 1, thread)
    assert await copies(cells) == set()
    assert 0 < await ask("TTL", closed) <= CLOSED_SECONDS
    await ask("DEL", closed)  # as when its time is over
    await turns(threads, saver, 1, thread)
    assert await copies(cells) == {key_of(thread)}


async def test_the_list_of_copies_forgets_those_that_ended(
    threads: PostgresThreads, saver: TenantPostgresSaver, cells: Cells
) -> None:
    ask, listed = cells.first.redis.execute_command, redis_key(ACME, Area.HOT, "copies")
    await ask("ZADD", listed, 1, "ended long ago")
    thread = await turns(threads, saver, 2)
    assert await ask("ZRANGE", listed, 0, -1) == [key_of(thread).encode()]
    assert 0 < await ask("TTL", listed) <= LIFE_SECONDS


async def test_copies_that_cannot_be_dropped_are_told(cells: Cells, redis: RedisServer) -> None:
    redis.kill()
    try:
        with pytest.raises(Unavailable):
            await drop_copies(cells.first.redis, ACME)
    finally:
        redis.start()


async def test_no_turn_fails_without_redis(
    threads: PostgresThreads, saver: TenantPostgresSaver, trips: Trips, redis: RedisServer
) -> None:
    thread = await turns(threads, saver, 3)
    redis.kill()
    try:
        assert await reads_postgres(threads, saver, trips, thread)
        assert await reads_postgres(threads, saver, trips, thread)
    finally:
        redis.start()


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_no_older_state_is_served(
    threads: PostgresThreads,
    saver: TenantPostgresSaver,
    cells: Cells,
    redis: RedisServer,
    seed: int,
) -> None:
    """Turns on three threads, some of them broken, among flushes, deaths and poison."""
    dice, ask = random.Random(seed), cells.first.redis.execute_command  # noqa: S311
    known: list[ThreadId] = [await turns(threads, saver, 1) for _ in range(3)]
    copies: list[bytes] = []
    for step in range(40):
        thread = dice.choice(known)
        event = dice.choice(["turn"] * 6 + ["flush", "death", "poison", "by hand", "forget"])
        if event == "flush":
            await ask("FLUSHALL")
        elif event == "death":
            redis.kill()
            redis.start()
        elif event == "poison" and copies:
            await ask("SET", key_of(thread), dice.choice(copies))
        elif event == "by hand":
            graph = LINE.copy(update={"checkpointer": saver.for_tenant(ACME)})
            config: Any = {"configurable": {"thread_id": str(thread)}}
            await graph.aupdate_state(config, {"done": [f"hand {step}"]}, as_node="three")
        await _turn(threads, saver, thread, dice, f"step {step}")
        copies += filter(None, [await ask("GET", key_of(thread))])


async def _turn(
    threads: PostgresThreads,
    saver: TenantPostgresSaver,
    thread: ThreadId,
    dice: random.Random,
    text: str,
) -> None:
    turn = await open_turn(threads, saver, dice.choice([LINE, LINE, FORK]), thread_id=thread)
    read, stored = await both(turn)
    assert read == stored
    if dice.random() < 0.2:  # refused: nothing of it is there
        turn.saver.drop()
        await threads.discard_run(turn.lease, audit_event())
        return
    await turn.run(text)
    await turn.end()
