"""Threads and runs on a real database: who gets the lease, and who sees what."""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.threads import Idempotency, PostgresThreads, Replay, Thread
from storage.turn import Ending, Lease, TurnRecord
from tenancy.errors import Conflict, Invalid, NotFound, ThreadBusy
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.page import Cursor
from tenancy.principal import Principal, Role
from tenancy.usage import Tokens
from tests.storage.graphs import FREE, chain, open_turn
from tests.storage.makers import (
    ACME,
    audit_event,
    new_run,
    new_thread,
    principal,
    rows,
    usage_event,
    value,
    warm,
)

ALICE, BOB = principal(subject="alice"), principal(subject="bob")
ADMIN, STRANGER = principal(subject="ada", role=Role.ADMIN), principal("globex", "alice")
MANY, ROUNDS = 10, 10


def keyed(key: str, request: str = "a request") -> Idempotency:
    return Idempotency(key, sha256(request.encode()).digest())


async def open_run(
    threads: PostgresThreads,
    who: Principal = ALICE,
    *,
    run_id: RunId | None = None,
    thread_id: ThreadId | None = None,
    idempotency: Idempotency | None = None,
) -> Lease:
    """A run on a thread, on a new one unless it is named."""
    opened = await threads.open_run(
        who,
        run_id=run_id or new_run(),
        thread_id=thread_id or new_thread(),
        new_thread=thread_id is None,
        idempotency=idempotency,
    )
    assert isinstance(opened, Lease)
    return opened


async def end(
    saver: TenantPostgresSaver, lease: Lease, status: str = "success", **answer: Any
) -> None:
    record = TurnRecord(ending=Ending(status, Tokens(3, 4), answer))
    clone = saver.for_run(lease, {}, record)
    await clone.admit()
    await clone.flush()


async def expire(cells: Cells, lease: Lease) -> None:
    await rows(
        cells,
        "update threads set lease_until = now() where thread_id = %(thread)s returning 1",
        lease.tenant_id,
        thread=lease.thread_id,
    )


async def left_of(cells: Cells, lease: Lease) -> dict[str, int]:
    """How many rows a run left, by table."""
    counts = """
        select (select count(*) from runs where run_id = %(run)s) as runs,
               (select count(*) from threads where thread_id = %(thread)s) as threads,
               (select count(*) from audit_events where run_id = %(run)s) as audit_events"""
    [row] = await rows(cells, counts, lease.tenant_id, run=lease.run_id, thread=lease.thread_id)
    return row


# -- the lease


async def test_a_run_on_a_new_thread_makes_the_thread(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    assert (await threads.get(ALICE, lease.thread_id)).thread_id == lease.thread_id


async def test_a_run_on_an_unknown_thread_is_not_found(threads: PostgresThreads) -> None:
    with pytest.raises(NotFound):
        await open_run(threads, thread_id=new_thread())


@pytest.mark.parametrize("who", [BOB, STRANGER], ids=["another member", "another tenant"])
async def test_a_run_on_someone_elses_thread_is_not_found(
    threads: PostgresThreads, saver: TenantPostgresSaver, who: Principal
) -> None:
    lease = await open_run(threads)
    await end(saver, lease)
    with pytest.raises(NotFound):
        await open_run(threads, who, thread_id=lease.thread_id)


async def test_a_second_run_finds_the_thread_busy(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    with pytest.raises(ThreadBusy):
        await open_run(threads, thread_id=lease.thread_id)


async def test_of_many_runs_at_once_exactly_one_gets_the_thread(
    cells: Cells, threads: PostgresThreads
) -> None:
    await warm(cells, MANY)
    for _ in range(ROUNDS):
        thread = await threads.create(ALICE, new_thread(), "")
        opened = await asyncio.gather(
            *(open_run(threads, thread_id=thread.thread_id) for _ in range(MANY)),
            return_exceptions=True,
        )
        assert sum(isinstance(lease, Lease) for lease in opened) == 1
        assert sum(isinstance(error, ThreadBusy) for error in opened) == MANY - 1


async def test_the_same_opening_again_gets_the_same_fence(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    again = await open_run(threads, run_id=lease.run_id, thread_id=lease.thread_id)
    assert again.fence == lease.fence


async def test_an_expired_lease_is_taken_over_with_a_higher_fence(
    cells: Cells, threads: PostgresThreads
) -> None:
    lease = await open_run(threads)
    await expire(cells, lease)
    newer = await open_run(threads, thread_id=lease.thread_id)
    assert newer.fence > lease.fence


async def test_a_run_whose_thread_was_taken_over_is_an_error(
    cells: Cells, threads: PostgresThreads
) -> None:
    lease = await open_run(threads)
    await expire(cells, lease)
    await open_run(threads, thread_id=lease.thread_id)
    run = await threads.run(ALICE, lease.run_id)
    assert (run.status, run.finished_at is None) == ("error", False)


async def test_a_run_whose_process_died_shows_as_an_error_at_once(
    cells: Cells, threads: PostgresThreads
) -> None:
    lease = await open_run(threads)
    assert (await threads.run(ALICE, lease.run_id)).status == "running"
    await expire(cells, lease)
    assert (await threads.run(ALICE, lease.run_id)).status == "error"


async def test_a_renewed_lease_is_held_longer(cells: Cells, threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    await expire(cells, lease)
    assert await threads.renew(lease)
    with pytest.raises(ThreadBusy):
        await open_run(threads, thread_id=lease.thread_id)


async def test_a_lost_lease_cannot_be_renewed(cells: Cells, threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    await expire(cells, lease)
    await open_run(threads, thread_id=lease.thread_id)
    assert not await threads.renew(lease)


async def test_another_tenant_cannot_renew_a_lease(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    forged = Lease(TenantId("globex"), lease.thread_id, lease.run_id, lease.fence, new_thread=False)
    assert not await threads.renew(forged)


async def test_an_ended_run_gives_its_thread_back(
    threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    lease = await open_run(threads)
    await end(saver, lease)
    assert (await open_run(threads, thread_id=lease.thread_id)).fence > lease.fence


# -- the same request twice


async def test_a_finished_request_is_answered_again_as_it_was(
    threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    await end(saver, await open_run(threads, idempotency=keyed("replay")), answer="42")
    again = await threads.open_run(
        ALICE,
        run_id=new_run(),
        thread_id=new_thread(),
        new_thread=True,
        idempotency=keyed("replay"),
    )
    assert again == Replay({"answer": "42"})


async def test_a_key_with_another_request_is_invalid(threads: PostgresThreads) -> None:
    await open_run(threads, idempotency=keyed("mismatch"))
    with pytest.raises(Invalid) as refused:
        await open_run(threads, idempotency=keyed("mismatch", "another request"))
    assert refused.value.field == "Idempotency-Key"


async def test_a_request_in_progress_is_busy(threads: PostgresThreads) -> None:
    await open_run(threads, idempotency=keyed("in progress"))
    with pytest.raises(ThreadBusy):
        await open_run(threads, idempotency=keyed("in progress"))


async def test_of_many_requests_with_one_key_exactly_one_runs(
    cells: Cells, threads: PostgresThreads
) -> None:
    await warm(cells, MANY)
    for number in range(ROUNDS):
        opened = await asyncio.gather(
            *(open_run(threads, idempotency=keyed(f"many {number}")) for _ in range(MANY)),
            return_exceptions=True,
        )
        assert sum(isinstance(lease, Lease) for lease in opened) == 1
        assert sum(isinstance(error, ThreadBusy) for error in opened) == MANY - 1


@pytest.mark.parametrize("status", ["error", "cancelled"])
async def test_a_failed_request_may_run_again_under_its_key(
    threads: PostgresThreads, saver: TenantPostgresSaver, status: str
) -> None:
    first = await open_run(threads, idempotency=keyed(status))
    await end(saver, first, status)
    second = await open_run(threads, idempotency=keyed(status))
    assert second.run_id != first.run_id


async def test_an_abandoned_request_may_run_again_under_its_key(
    cells: Cells, threads: PostgresThreads
) -> None:
    first = await open_run(threads, idempotency=keyed("abandoned"))
    await expire(cells, first)
    second = await open_run(threads, idempotency=keyed("abandoned"))
    assert second.run_id != first.run_id


@pytest.mark.parametrize("who", [BOB, STRANGER], ids=["another member", "another tenant"])
async def test_a_key_is_its_subjects_own(
    threads: PostgresThreads, saver: TenantPostgresSaver, who: Principal
) -> None:
    key = keyed(f"own of {who.tenant_id}")
    await end(saver, await open_run(threads, idempotency=key), answer="secret")
    assert isinstance(await open_run(threads, who, idempotency=key), Lease)


async def test_a_refused_request_leaves_its_key_free(threads: PostgresThreads) -> None:
    lease = await open_run(threads, idempotency=keyed("refused"))
    await threads.discard_run(lease, audit_event(run_id=lease.run_id))
    assert isinstance(await open_run(threads, idempotency=keyed("refused")), Lease)


# -- refusals


async def test_a_refused_run_leaves_one_audit_event_and_nothing_else(
    cells: Cells, threads: PostgresThreads
) -> None:
    lease = await open_run(threads)
    await threads.discard_run(lease, audit_event(run_id=lease.run_id))
    assert await left_of(cells, lease) == {"runs": 0, "threads": 0, "audit_events": 1}


async def test_a_refused_run_keeps_the_old_thread_and_frees_it(
    cells: Cells, threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    first = await open_run(threads)
    await end(saver, first)
    lease = await open_run(threads, thread_id=first.thread_id)
    await threads.discard_run(lease, audit_event(run_id=lease.run_id))
    assert await left_of(cells, lease) == {"runs": 0, "threads": 1, "audit_events": 1}
    await open_run(threads, thread_id=first.thread_id)


async def test_a_refusal_that_is_repeated_is_audited_once(
    cells: Cells, threads: PostgresThreads
) -> None:
    lease, event = await open_run(threads), audit_event()
    await threads.discard_run(lease, event)
    await threads.discard_run(lease, event)
    counted = "select count(*) from audit_events where event_id = %(event)s"
    assert await value(cells, counted, event=event.event_id) == 1


async def test_a_late_refusal_does_not_free_the_thread_of_its_new_holder(
    cells: Cells, threads: PostgresThreads
) -> None:
    thread = await threads.create(ALICE, new_thread(), "")
    lease = await open_run(threads, thread_id=thread.thread_id)
    await expire(cells, lease)
    await open_run(threads, thread_id=thread.thread_id)
    await threads.discard_run(lease, audit_event())
    with pytest.raises(ThreadBusy):
        await open_run(threads, thread_id=thread.thread_id)


# -- deletion


async def test_deleting_a_thread_deletes_its_memory_and_its_runs(
    cells: Cells, threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run()
    turn.record.usage.append(usage_event(turn.lease.run_id))
    await turn.end()
    await threads.delete(ALICE, turn.lease.thread_id, audit_event())
    thread = turn.lease.thread_id
    for table in ("threads", "runs", "checkpoints", "checkpoint_blobs", "checkpoint_writes"):
        counted = f"select count(*) from {table} where thread_id::text = %(thread)s"  # noqa: S608
        assert await value(cells, counted, thread=str(thread)) == 0, table


async def test_deleting_a_thread_keeps_what_it_cost(
    cells: Cells, threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    turn.record.usage.append(usage_event(turn.lease.run_id))
    await turn.end()
    await threads.delete(ALICE, turn.lease.thread_id, audit_event())
    counted = "select count(*) from usage_events where run_id = %(run)s"
    assert await value(cells, counted, run=turn.lease.run_id) == 1


async def test_a_busy_thread_is_not_deleted(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    with pytest.raises(ThreadBusy):
        await threads.delete(ALICE, lease.thread_id, audit_event())
    assert await threads.get(ALICE, lease.thread_id)


@pytest.mark.parametrize("who", [BOB, STRANGER], ids=["another member", "another tenant"])
async def test_someone_elses_thread_is_not_there_to_be_deleted(
    threads: PostgresThreads, who: Principal
) -> None:
    thread = await threads.create(ALICE, new_thread(), "")
    with pytest.raises(NotFound):
        await threads.delete(who, thread.thread_id, audit_event())
    assert await threads.get(ALICE, thread.thread_id)


# -- who sees what


@pytest.mark.parametrize("who", [BOB, STRANGER], ids=["another member", "another tenant"])
async def test_someone_elses_thread_does_not_exist(
    threads: PostgresThreads, who: Principal
) -> None:
    lease = await open_run(threads)
    with pytest.raises(NotFound):
        await threads.get(who, lease.thread_id)
    with pytest.raises(NotFound):
        await threads.run(who, lease.run_id)
    assert lease.thread_id not in [t.thread_id for t in await threads.page(who, None, 200)]


async def test_an_admin_sees_every_thread_of_the_tenant(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    assert (await threads.get(ADMIN, lease.thread_id)).thread_id == lease.thread_id
    assert (await threads.run(ADMIN, lease.run_id)).run_id == lease.run_id


async def test_an_admin_of_another_tenant_sees_nothing(threads: PostgresThreads) -> None:
    lease = await open_run(threads)
    with pytest.raises(NotFound):
        await threads.get(principal("globex", "ada", Role.ADMIN), lease.thread_id)


async def test_another_tenants_memory_is_empty(
    threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    turn = await open_turn(threads, saver, chain(("n", FREE)))
    await turn.run()
    await turn.end()
    assert await threads.memory(ALICE, turn.lease.thread_id) is not None
    assert await threads.memory(STRANGER, turn.lease.thread_id) is None


async def test_a_taken_id_is_a_conflict(threads: PostgresThreads) -> None:
    thread = await threads.create(ALICE, new_thread(), "mine")
    with pytest.raises(Conflict):
        await threads.create(BOB, thread.thread_id, "mine too")


async def test_two_tenants_may_use_one_thread_id(threads: PostgresThreads) -> None:
    thread_id = new_thread()
    await threads.create(ALICE, thread_id, "of acme")
    await threads.create(STRANGER, thread_id, "of globex")
    assert (await threads.get(ALICE, thread_id)).title == "of acme"


# -- pages


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_pages_are_complete_and_without_duplicates_at_one_and_the_same_time(
    cells: Cells, threads: PostgresThreads, limit: int
) -> None:
    reader = principal(subject=f"reader-{limit}")
    made = [(await threads.create(reader, new_thread(), "")).thread_id for _ in range(12)]
    same = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    changed = "update threads set updated_at = %(at)s where subject_id = %(who)s returning 1"
    await rows(cells, changed, ACME, at=same, who=reader.subject_id)
    seen: list[ThreadId] = []
    after: Cursor | None = None
    while page := await threads.page(reader, after, limit):
        seen += [thread.thread_id for thread in page]
        after = Cursor(page[-1].updated_at, page[-1].thread_id)
    assert sorted(seen) == sorted(made)


async def test_the_latest_thread_comes_first(
    threads: PostgresThreads, saver: TenantPostgresSaver
) -> None:
    reader = principal(subject="latest")
    older: Thread = await threads.create(reader, new_thread(), "older")
    await threads.create(reader, new_thread(), "newer")
    await end(saver, await open_run(threads, reader, thread_id=older.thread_id))
    assert [t.title for t in await threads.page(reader, None, 10)] == ["older", "newer"]


# -- titles


@pytest.mark.parametrize(("given", "found"), [(None, "Better"), ("A question", "A question")])
async def test_a_models_title_replaces_a_messages_and_never_a_persons(
    threads: PostgresThreads, saver: TenantPostgresSaver, given: str | None, found: str
) -> None:
    lease = await open_run(threads)
    record = TurnRecord(ending=Ending("success", Tokens(), {}), title="A question")
    clone = saver.for_run(lease, {}, record)
    await clone.admit()
    await clone.flush()
    if given is not None:
        await threads.change(ALICE, lease.thread_id, title=given, shared=None, audit=[])
    for title in ("Better", "Better still"):
        given_now = await threads.give_title(ACME, lease.thread_id, title, instead_of="A question")
        assert given_now == (title == found)
    assert (await threads.get(ALICE, lease.thread_id)).title == found
