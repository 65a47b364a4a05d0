"""Usage and audit on a real database: nothing twice, nothing changed, nobody else's."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from storage.cells import Cells
from storage.ledger import PostgresLedger, dump
from tenancy.page import Cursor
from tenancy.usage import Meter
from tests.storage.makers import (
    ACME,
    GLOBEX,
    Trips,
    audit_event,
    new_run,
    rows,
    usage_event,
    value,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def ledger(cells: Cells) -> PostgresLedger:
    return PostgresLedger(cells)


async def test_the_same_usage_again_is_counted_once(cells: Cells, ledger: PostgresLedger) -> None:
    run = new_run()
    await asyncio.gather(*(ledger.record(ACME, usage=[usage_event(run, 7)]) for _ in range(5)))
    counted = "select sum(quantity)::int from usage_events where run_id = %(run)s"
    assert await value(cells, counted, run=run) == 7


async def test_usage_and_audit_are_recorded_in_one_round_trip(
    ledger: PostgresLedger, trips: Trips
) -> None:
    trips.clear()
    await ledger.record(ACME, usage=[usage_event(new_run())], audit=[audit_event()])
    assert trips == ["record"]


async def test_nothing_to_record_costs_nothing(ledger: PostgresLedger, trips: Trips) -> None:
    trips.clear()
    await ledger.record(ACME)
    assert trips == []


async def test_usage_and_cost_are_summed_per_meter_and_model(ledger: PostgresLedger) -> None:
    at = NOON - timedelta(days=3)
    events = [
        usage_event(new_run(), quantity, model=model, created_at=at, cost=cost)
        for quantity, model, cost in ((1, "small", 10), (2, "small", 20), (4, "large", 2**40))
    ]
    await ledger.record(ACME, usage=events)
    assert await ledger.usage(ACME, at, at + HOUR) == [
        {"meter": Meter.INPUT_TOKENS, "model": "large", "quantity": 4, "cost": 2**40},
        {"meter": Meter.INPUT_TOKENS, "model": "small", "quantity": 3, "cost": 30},
    ]


async def test_a_time_span_has_its_start_and_not_its_end(ledger: PostgresLedger) -> None:
    at = NOON - timedelta(days=5)
    events = [
        usage_event(new_run(), 1, created_at=at),
        usage_event(new_run(), 2, created_at=at + HOUR),
    ]
    await ledger.record(ACME, usage=events)
    assert [row["quantity"] for row in await ledger.usage(ACME, at, at + HOUR)] == [1]


async def test_another_tenants_usage_is_not_counted(ledger: PostgresLedger) -> None:
    at = NOON - timedelta(days=7)
    await ledger.record(ACME, usage=[usage_event(new_run(), created_at=at)])
    assert await ledger.usage(GLOBEX, at, at + HOUR) == []


async def test_two_tenants_may_have_events_of_one_id(cells: Cells, ledger: PostgresLedger) -> None:
    run = new_run()
    for tenant_id in (ACME, GLOBEX):
        await ledger.record(tenant_id, usage=[usage_event(run)])
        counted = "select count(*) from usage_events where run_id = %(run)s"
        assert await value(cells, counted, tenant_id, run=run) == 1


async def test_an_audit_event_comes_back_as_it_was(ledger: PostgresLedger) -> None:
    event = audit_event(
        "a.deed",
        run_id=new_run(),
        thread_id=uuid4(),
        attributes={"reason": "why", "count": 3, "sure": True},
        created_at=NOON + timedelta(days=400),
    )
    await ledger.record(ACME, audit=[event])
    assert await ledger.audit(ACME, None, 1) == [event]


async def test_another_tenants_audit_is_not_listed(ledger: PostgresLedger) -> None:
    event = audit_event()
    await ledger.record(ACME, audit=[event])
    assert event not in await ledger.audit(GLOBEX, None, 200)


@pytest.mark.parametrize("limit", [1, 4])
async def test_audit_pages_are_complete_at_one_and_the_same_time(
    cells: Cells, ledger: PostgresLedger, limit: int
) -> None:
    at = NOON + timedelta(days=500 + limit)
    events = [audit_event(created_at=at) for _ in range(9)]
    await ledger.record(ACME, audit=events)
    seen: list[UUID] = []
    after: Cursor | None = Cursor(at + HOUR, UUID(int=0))
    while page := [e for e in await ledger.audit(ACME, after, limit) if e.created_at == at]:
        seen += [event.event_id for event in page]
        after = Cursor(page[-1].created_at, page[-1].event_id)
    assert sorted(seen) == sorted(event.event_id for event in events)


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800b"], ids=["nul", "lone surrogate"])
async def test_bad_text_in_an_event_is_cleaned(ledger: PostgresLedger, bad: str) -> None:
    event = audit_event("bad.text", attributes={"name": bad}, created_at=NOON + 9999 * HOUR * 9)
    await ledger.record(ACME, audit=[event])
    [found] = [e for e in await ledger.audit(ACME, None, 5) if e.event_id == event.event_id]
    assert found.attributes == {"name": "ab"}


async def test_an_escaped_nul_is_text_and_stays(cells: Cells, ledger: PostgresLedger) -> None:
    event = audit_event(attributes={"name": r"a\u0000b"})
    await ledger.record(ACME, audit=[event])
    [row] = await rows(
        cells, "select attributes from audit_events where event_id = %(id)s", id=event.event_id
    )
    assert row["attributes"] == {"name": r"a\u0000b"}


def test_a_number_of_more_than_64_bits_is_json() -> None:
    assert dump({"n": 2**70}) == f'{{"n": {2**70}}}'


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object is no JSON"):
        dump({"thing": object()})
