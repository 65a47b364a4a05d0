"""The saver on a real database: whose rows it sees, what it commits when, what it survives."""

import asyncio
from typing import Any

import pytest
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.types import Command, interrupt

from server.stores import Stores
from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.queries import Query
from storage.threads import PostgresThreads
from tenancy.errors import LeaseLost, Unavailable
from tenancy.ids import TenantId
from tests.storage.graphs import (
    CLOSING,
    EFFECT,
    FREE,
    PAID,
    Graph,
    Turn,
    chain,
    fan,
    open_turn,
)
from tests.storage.makers import (
    ACME,
    GLOBEX,
    Trips,
    audit_event,
    away,
    kill_backends,
    new_run,
    new_thread,
    open_cells,
    principal,
    rows,
    usage_event,
    value,
)
from tests.support.stores import Cluster

FIVE = [("one", FREE), ("two", FREE), ("three", FREE), ("effect", EFFECT), ("last", CLOSING)]
TABLES = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
EXPIRE = "update threads set lease_until = now() where thread_id = %(thread)s returning 1"
LOCK = Query("lock", b"select 1 from threads where thread_id = %(thread)s for update")
CAPABILITIES = 8  # of the suite: put, writes, get, list, delete thread and runs, copy, prune


async def rows_of(cells: Cells, thread_id: object, tenant_id: TenantId = ACME) -> int:
    """How many rows of any checkpoint table a thread has."""
    return sum(
        [
            await value(
                cells,
                f"select count(*) from {table} where thread_id = %(thread)s",  # noqa: S608
                tenant_id,
                thread=str(thread_id),
            )
            for table in TABLES
        ]
    )


async def memory(saver: TenantPostgresSaver, turn: Turn, tenant_id: TenantId = ACME) -> Any:
    """What a new process remembers of the thread of a turn."""
    found = await saver.for_tenant(tenant_id).aget_tuple(turn.config)
    return None if found is None else found.checkpoint["channel_values"].get("done")


async def expire(saver: TenantPostgresSaver, turn: Turn) -> None:
    """The process of a turn died, and its lease ran out."""
    await rows(saver._cells, EXPIRE, thread=turn.lease.thread_id)


async def finish(
    threads: PostgresThreads, saver: TenantPostgresSaver, turn: Turn, given: Any = None
) -> Any:
    """Another process takes the thread over and goes on where it stopped."""
    await expire(saver, turn)
    again = await open_turn(threads, saver, turn.graph, thread_id=turn.lease.thread_id)
    state = await again.run(given)
    await again.end()
    return state


def checkpoint(**values: Any) -> Checkpoint:
    versions = dict.fromkeys(values, "1")
    made = {"id": str(uuid6()), "channel_values": values, "channel_versions": versions}
    return {**empty_checkpoint(), **made}


async def put(
    saver: TenantPostgresSaver,
    thread_id: object,
    metadata: dict[str, Any] | None = None,
    **values: Any,
) -> dict[str, Any]:
    made = checkpoint(**values)
    config: Any = {"configurable": {"thread_id": str(thread_id), "checkpoint_ns": ""}}
    about: Any = {"source": "loop", "step": 1, **(metadata or {})}
    return await saver.aput(config, made, about, made["channel_versions"])


async def refuse(state: Any) -> None:
    raise ZeroDivisionError


# -- whose rows


async def test_the_whole_conformance_suite_passes_write_through(cells: Cells) -> None:
    @checkpointer_test(name="TenantPostgresSaver")
    async def of_acme() -> Any:
        yield TenantPostgresSaver(cells).for_tenant(ACME)

    report = await validate(of_acme)
    failures = {name: r.failures for name, r in report.results.items() if not r.passed}
    assert failures == {}
    assert len(report.results) == CAPABILITIES
    assert all(result.detected for result in report.results.values())


@pytest.mark.parametrize("method", ["aget_tuple", "adelete_thread", "aput"])
async def test_the_base_object_has_no_tenant_and_refuses(
    saver: TenantPostgresSaver, method: str
) -> None:
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    made = checkpoint()
    given = {
        "aget_tuple": (config,),
        "adelete_thread": ("t",),
        "aput": (config, made, {"source": "update"}, {}),
    }
    with pytest.raises(RuntimeError, match="no tenant"):
        await getattr(saver, method)(*given[method])


async def test_two_tenants_with_one_thread_id_keep_their_own(saver: TenantPostgresSaver) -> None:
    thread = new_thread()
    await put(saver.for_tenant(ACME), thread, text="of acme", many=["acme"])
    await put(saver.for_tenant(GLOBEX), thread, text="of globex", many=["globex"])
    for tenant_id in (ACME, GLOBEX):
        found = await saver.for_tenant(tenant_id).aget_tuple(
            {"configurable": {"thread_id": str(thread)}}
        )
        assert found is not None
        assert found.checkpoint["channel_values"] == {
            "text": f"of {tenant_id}",
            "many": [tenant_id],
        }


async def test_another_tenants_thread_cannot_be_read(saver: TenantPostgresSaver) -> None:
    thread = new_thread()
    at = await put(saver.for_tenant(ACME), thread, text="secret")
    other = saver.for_tenant(GLOBEX)
    latest: Any = {"configurable": {"thread_id": str(thread)}}
    assert await other.aget_tuple(at) is None
    assert await other.aget_tuple(latest) is None
    assert [found async for found in other.alist(latest)] == []
    assert [found async for found in other.alist(None) if thread in found.config] == []


@pytest.mark.parametrize("deed", ["delete", "prune", "delete for runs", "copy"])
async def test_another_tenants_thread_cannot_be_changed(
    cells: Cells, saver: TenantPostgresSaver, deed: str
) -> None:
    thread, run = new_thread(), new_run()
    await put(saver.for_tenant(ACME), thread, {"run_id": str(run)}, text="secret", many=[1])
    before, other = await rows_of(cells, thread), saver.for_tenant(GLOBEX)
    copied = new_thread()
    if deed == "delete":
        await other.adelete_thread(str(thread))
    elif deed == "prune":
        await other.aprune([str(thread)], strategy="delete")
    elif deed == "delete for runs":
        await other.adelete_for_runs([str(run)])
    else:
        await other.acopy_thread(str(thread), str(copied))
    assert await rows_of(cells, thread) == before
    assert await rows_of(cells, copied, GLOBEX) == 0


# -- what is committed when


async def test_a_refused_run_leaves_no_row(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE), admitted=False)
    await turn.run()
    turn.saver.drop()
    await turn.saver.flush()
    assert await rows_of(cells, turn.lease.thread_id) == 0


async def test_an_error_before_admission_does_not_reach_the_database(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE, three=refuse), admitted=False)
    with pytest.raises(ZeroDivisionError):
        await turn.run()
    await turn.saver.flush()
    assert await rows_of(cells, turn.lease.thread_id) == 0


async def test_what_was_held_before_admission_is_committed_with_it(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE), admitted=False)
    await turn.run()
    assert await rows_of(cells, turn.lease.thread_id) == 0
    await turn.saver.admit()
    assert await memory(saver, turn) == ["question", "one", "two", "three", "effect", "last"]


async def test_a_new_threads_turn_costs_one_commit_before_the_effect_and_one_at_the_end(
    saver: TenantPostgresSaver, threads: PostgresThreads, trips: Trips
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE))
    trips.clear()
    await turn.run()
    assert trips == ["commit_turn"]
    await turn.end()
    assert trips == ["commit_turn", "commit_turn"]


async def test_a_turn_on_an_old_thread_costs_one_read_more(
    saver: TenantPostgresSaver, threads: PostgresThreads, trips: Trips
) -> None:
    first = await open_turn(threads, saver, chain(*FIVE))
    await first.run()
    await first.end()
    turn = await open_turn(threads, saver, first.graph, thread_id=first.lease.thread_id)
    trips.clear()
    await turn.run()
    await turn.end()
    assert trips == ["get_checkpoint", "commit_turn", "commit_turn"]
    turn = await open_turn(threads, saver, first.graph, thread_id=first.lease.thread_id)
    trips.clear()
    await turn.run()
    await turn.end()
    assert trips == ["commit_turn", "commit_turn"]  # the copy in Redis is of the latest


async def test_free_nodes_cost_no_commit(
    saver: TenantPostgresSaver, threads: PostgresThreads, trips: Trips
) -> None:
    many = [(f"n{number}", FREE) for number in range(12)]
    turn = await open_turn(threads, saver, chain(*many))
    trips.clear()
    await turn.run()
    assert trips == []


async def test_the_input_is_stored_when_an_effect_begins(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    seen: list[Any] = []

    async def look(state: Any) -> None:
        seen.append(await memory(saver, turn))

    turn = await open_turn(threads, saver, chain(*FIVE, effect=look))
    await turn.run()
    assert seen == [["question", "one", "two", "three"]]


async def test_what_a_paid_node_returned_is_stored_when_the_next_node_runs(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    seen: list[Any] = []

    async def look(state: Any) -> None:
        seen.append(await memory(saver, turn))

    graph = chain(("paid", PAID), ("free", FREE), ("last", CLOSING), free=look)
    turn = await open_turn(threads, saver, graph)
    await turn.run()
    assert seen == [["question", "paid"]]


async def test_a_paid_node_among_siblings_is_committed_while_they_run(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    calls: list[str] = []

    async def left(state: Any) -> None:
        calls.append("left")

    async def right(state: Any) -> None:
        calls.append("right")
        if calls.count("right") == 1:
            await asyncio.Event().wait()

    turn = await open_turn(threads, saver, fan(PAID, left=left, right=right))
    running = asyncio.create_task(turn.run())
    async with asyncio.timeout(5):
        while "left" not in await paths_of_writes(cells, turn):  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    state = await finish(threads, saver, turn)
    assert sorted(state["done"]) == ["first", "join", "left", "question", "right"]
    assert calls == ["left", "right", "right"]


async def paths_of_writes(cells: Cells, turn: Turn) -> str:
    found = await rows(
        cells,
        "select task_path from checkpoint_writes where thread_id = %(thread)s",
        thread=str(turn.lease.thread_id),
    )
    return " ".join(row["task_path"] for row in found)


async def test_usage_audit_and_the_end_ride_in_the_last_commit(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads, trips: Trips
) -> None:
    turn = await open_turn(threads, saver, chain(("last", CLOSING)))
    run = turn.lease.run_id
    turn.record.usage.append(usage_event(run))
    turn.record.audit.append(audit_event(run_id=run))
    turn.record.title = "A title"
    await turn.run()
    trips.clear()
    await turn.end()
    assert trips == ["commit_turn"]
    left = "select (select count(*) from usage_events where run_id = %(run)s) as usage, \
            (select count(*) from audit_events where run_id = %(run)s) as audit, status, title \
            from runs join threads using (tenant_id, thread_id) where run_id = %(run)s"
    assert await rows(cells, left, run=run) == [
        {"usage": 1, "audit": 1, "status": "success", "title": "A title"}
    ]


async def test_two_clones_share_no_state(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    one = await open_turn(threads, saver, chain(("n", FREE)))
    two = await open_turn(threads, saver, chain(("n", FREE)))
    await one.run("of one")
    await two.saver.flush()
    assert await rows_of(cells, one.lease.thread_id) == 0
    await one.saver.flush()
    assert await memory(saver, one) == ["of one", "n"]
    assert await rows_of(cells, two.lease.thread_id) == 0


# -- what it survives


async def test_a_run_that_lost_its_thread_writes_nothing(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run()
    turn.record.usage.append(usage_event(turn.lease.run_id))
    await expire(saver, turn)
    await open_turn(threads, saver, turn.graph, thread_id=turn.lease.thread_id)
    with pytest.raises(LeaseLost):
        await turn.saver.flush()
    assert await rows_of(cells, turn.lease.thread_id) == 0
    used = "select count(*) from usage_events where run_id = %(run)s"
    assert await value(cells, used, run=turn.lease.run_id) == 0


async def test_a_run_that_lost_its_thread_cannot_end_itself_over_the_new_holder(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await expire(saver, turn)
    newer = await open_turn(threads, saver, turn.graph, thread_id=turn.lease.thread_id)
    with pytest.raises(LeaseLost):
        await turn.end()
    holder = "select lease_run_id from threads where thread_id = %(thread)s"
    assert await value(cells, holder, thread=turn.lease.thread_id) == newer.lease.run_id


async def test_the_same_last_commit_again_is_no_lost_lease(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(("n", CLOSING)))
    await turn.run()
    await turn.end()
    await turn.end()  # as after an answer that was lost on the way


async def test_a_commit_on_killed_connections_is_repeated_on_a_fresh_one(
    stores: Stores, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE))
    await turn.run()
    assert kill_backends(stores) >= 1
    await turn.end()
    assert await memory(saver, turn) == ["question", "one", "two", "three", "effect", "last"]


async def test_what_could_not_be_committed_is_held_and_committed_later(
    servers: Cluster, stores: Stores, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run()
    turn.record.usage.append(usage_event(turn.lease.run_id))
    with away(servers, stores), pytest.raises(Unavailable):
        await turn.end()
    await turn.saver.flush()
    assert await memory(saver, turn) == ["question", "n"]
    run = await threads.run(principal(), turn.lease.run_id)
    assert run.status == "success"


async def test_a_commit_that_was_cancelled_is_held_and_committed_later(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run()
    async with cells.first.as_tenant(ACME) as conn:
        await conn.execute(LOCK, {"thread": turn.lease.thread_id})
        committing = asyncio.create_task(turn.saver.flush())
        await asyncio.sleep(0.1)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
    assert await rows_of(cells, turn.lease.thread_id) == 0
    await turn.end()
    assert await memory(saver, turn) == ["question", "n"]


async def test_an_interrupted_run_is_resumed_by_another_process(
    stores: Stores, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    async def ask(state: Any) -> dict[str, Any]:
        return {"done": [interrupt("may I?")]}

    graph = chain(("one", FREE), ("ask", EFFECT), ("last", CLOSING), ask=ask)
    turn = await open_turn(threads, saver, graph)
    state = await turn.run()
    assert state["__interrupt__"][0].value == "may I?"
    await turn.end("interrupted")
    async with open_cells(stores) as elsewhere:
        other = TenantPostgresSaver(elsewhere)
        state = await finish(
            PostgresThreads(elsewhere, other), other, turn, Command(resume="you may")
        )
    assert state["done"] == ["question", "one", "you may", "last"]


async def test_a_failed_run_is_finished_by_another_process(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    failures = iter([ZeroDivisionError])

    async def fail_once(state: Any) -> None:
        for failure in failures:
            raise failure

    turn = await open_turn(threads, saver, chain(*FIVE, effect=fail_once))
    with pytest.raises(ZeroDivisionError):
        await turn.run()
    await turn.end("error")
    state = await finish(threads, saver, turn)
    assert state["done"] == ["question", "one", "two", "three", "effect", "last"]


# -- text that no store can carry


BAD = pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"], ids=["nul", "lone surrogate"])


@BAD
@pytest.mark.parametrize("place", ["metadata", "channel"])
async def test_bad_text_is_cleaned_and_does_not_poison_what_is_held(
    saver: TenantPostgresSaver, threads: PostgresThreads, bad: str, place: str
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    thread = turn.lease.thread_id
    if place == "metadata":
        await put(turn.saver, thread, {"note": bad, bad: 1}, text="fine")
    else:
        await put(turn.saver, thread, text=bad)
    await turn.end()
    found = await saver.for_tenant(ACME).aget_tuple(turn.config)
    assert found is not None
    told = found.metadata if place == "metadata" else found.checkpoint["channel_values"]
    assert told["note" if place == "metadata" else "text"] == "ab"


@pytest.mark.parametrize(("bad", "kept"), [("a\0b", "a\0b"), ("a\ud800b", "a?b")])
async def test_bad_text_in_structured_state_fails_no_commit(
    saver: TenantPostgresSaver, threads: PostgresThreads, bad: str, kept: str
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run(bad)
    await turn.end()
    assert await memory(saver, turn) == [kept, "n"]


# -- administration


async def long_thread(saver: TenantPostgresSaver, threads: PostgresThreads) -> list[Turn]:
    """Three turns on one thread."""
    turns = [await open_turn(threads, saver, chain(*FIVE))]
    await turns[0].run("q0")
    await turns[0].end()
    for number in (1, 2):
        thread_id = turns[0].lease.thread_id
        turns.append(await open_turn(threads, saver, turns[0].graph, thread_id=thread_id))
        await turns[-1].run(f"q{number}")
        await turns[-1].end()
    return turns


async def test_pruning_keeps_the_latest_state_and_little_else(
    cells: Cells, saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    [*_, last] = await long_thread(saver, threads)
    before, said = await rows_of(cells, last.lease.thread_id), await memory(saver, last)
    await saver.for_tenant(ACME).aprune([str(last.lease.thread_id)])
    assert await memory(saver, last) == said
    kept = "select count(*) from checkpoints where thread_id = %(thread)s"
    assert await value(cells, kept, thread=str(last.lease.thread_id)) == 1
    assert await rows_of(cells, last.lease.thread_id) < before


async def test_the_checkpoints_of_a_run_can_be_deleted_alone(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    [*_, third] = await long_thread(saver, threads)
    said = await memory(saver, third)
    await saver.for_tenant(ACME).adelete_for_runs([str(third.lease.run_id)])
    assert await memory(saver, third) == said[: 2 * (len(FIVE) + 1)]


async def test_a_copied_thread_goes_on_by_itself(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    [*_, last] = await long_thread(saver, threads)
    said, source = await memory(saver, last), str(last.lease.thread_id)
    copied = await threads.create(principal(), new_thread(), "copy")
    await saver.for_tenant(ACME).acopy_thread(source, str(copied.thread_id))
    turn = await open_turn(threads, saver, last.graph, thread_id=copied.thread_id)
    state = await turn.run("q3")
    await turn.end()
    assert state["done"][: len(said)] == said
    assert await memory(saver, last) == said


async def test_an_update_of_the_state_is_stored_before_it_returns(
    saver: TenantPostgresSaver, threads: PostgresThreads
) -> None:
    turn = await open_turn(threads, saver, chain(*FIVE))
    await turn.run()
    await turn.end()
    graph: Graph = turn.graph.copy(update={"checkpointer": saver.for_tenant(ACME)})
    await graph.aupdate_state(turn.config, {"done": ["by hand"]}, as_node="last")
    assert (await memory(saver, turn))[-1] == "by hand"
