"""Alerts on a real database and a real receiver: one record and one post, whoever notices."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from server.alerts import Alerts
from server.metrics import REGISTRY
from server.stores import Stores
from server.webhook import Webhook
from storage.cells import Cells
from storage.ledger import PostgresLedger
from tenancy.audit import AuditEvent
from tenancy.errors import Unavailable
from tenancy.ids import SubjectId, TenantId
from tenancy.quota import Period, Standing, period_end
from tests.storage.makers import ACME, GLOBEX, Trips, audit_event, away
from tests.support.receiver import Receiver
from tests.support.stores import Cluster

SECRET = "a secret of the receiver's and ours"
ANN = SubjectId("ann")


@pytest.fixture(scope="module")
def ledger(cells: Cells) -> PostgresLedger:
    return PostgresLedger(cells)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
def days() -> Iterator[datetime]:
    """A day that no other test uses."""
    return _DAYS


_DAYS = iter(datetime(2030, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(1000))


def budget(day: datetime, used: int, **more: Any) -> Standing:
    standing = Standing("tokens", Period.DAY, 1000, used, 0, period_end(Period.DAY, day))
    return replace(standing, **more)


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def open_alerts(ledger: Any, receiver: Receiver | None = None) -> AsyncIterator[Alerts]:
    """Alerts of a process of its own, whose background work is done when the block ends."""
    hook = receiver and Webhook(receiver.url, SECRET, pause=no_pause)
    alerts = Alerts(ledger, hook)
    keeping = asyncio.create_task(alerts.keep(no_pause))
    try:
        yield alerts
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        await alerts.aclose()


async def recorded(ledger: PostgresLedger, tenant_id: TenantId, key: str) -> list[AuditEvent]:
    """The alerts of a period in a tenant's audit, the lower threshold first."""
    events = await ledger.audit(tenant_id, None, 200)
    found = [each for each in events if each.attributes.get("period") == key]
    return sorted(found, key=lambda each: int(each.attributes["threshold"]))


async def test_an_alert_is_recorded_and_posted(
    ledger: PostgresLedger, receiver: Receiver, days: Iterator[datetime]
) -> None:
    day = next(days)
    async with open_alerts(ledger, receiver) as alerts:
        alerts.note(ACME, [budget(day, 850)])
    [event] = await recorded(ledger, ACME, f"{day:%Y%m%d}")
    assert (event.action, event.resource, event.actor) == (
        "quota.alert",
        "tokens per day",
        "server",
    )
    told = {name: event.attributes[name] for name in ("level", "threshold", "used", "limit")}
    assert told == {"level": "tenant", "threshold": 80, "used": 850, "limit": 1000}
    [post] = receiver.posts
    post.sent_at(SECRET)
    body = post.json
    assert datetime.fromisoformat(body.pop("created_at")) == event.created_at
    assert body == {
        "id": str(event.event_id),
        "type": "quota.alert",
        "tenant_id": "acme",
        "level": "tenant",
        "meter": "tokens",
        "period": "day",
        "threshold": 80,
        "used": 850,
        "limit": 1000,
        "resets_at": f"{day + timedelta(days=1):%Y-%m-%d}T00:00:00Z",
    }


async def test_a_users_alert_says_whose(
    ledger: PostgresLedger, receiver: Receiver, days: Iterator[datetime]
) -> None:
    day = next(days)
    async with open_alerts(ledger, receiver) as alerts:
        alerts.note(ACME, [budget(day, 1000, level="user")], "user tokens per day", subject_id=ANN)
        alerts.note(ACME, [budget(day, 1000, level="user")], subject_id=SubjectId("bob"))
    events = await recorded(ledger, ACME, f"{day:%Y%m%d}")
    assert [each.subject_id for each in events].count(ANN) == 2
    assert {each.resource for each in events} == {"user tokens per day"}
    whose = sorted((post.json["subject"], post.json["threshold"]) for post in receiver.posts)
    assert whose == [("ann", 80), ("ann", 100), ("bob", 80), ("bob", 100)]


async def test_of_all_replicas_one_records_and_posts(
    ledger: PostgresLedger, receiver: Receiver, days: Iterator[datetime]
) -> None:
    day = next(days)
    before = REGISTRY.get_sample_value("tenantry_alerts_total", {"threshold": "100"}) or 0
    async with (
        open_alerts(ledger, receiver) as one,
        open_alerts(ledger, receiver) as two,
        open_alerts(ledger, receiver) as three,
    ):
        for used in range(800, 1100, 20):
            for alerts in (one, two, three):
                alerts.note(ACME, [budget(day, used)])
                alerts.note(GLOBEX, [budget(day, used)])
                await asyncio.sleep(0)
    for tenant_id in (ACME, GLOBEX):
        events = await recorded(ledger, tenant_id, f"{day:%Y%m%d}")
        assert [event.attributes["threshold"] for event in events] == [80, 100]
    told = sorted((post.json["tenant_id"], post.json["threshold"]) for post in receiver.posts)
    assert told == [("acme", 80), ("acme", 100), ("globex", 80), ("globex", 100)]
    assert REGISTRY.get_sample_value("tenantry_alerts_total", {"threshold": "100"}) == before + 2


async def test_what_was_told_costs_no_round_trip(
    ledger: PostgresLedger, trips: Trips, days: Iterator[datetime]
) -> None:
    day = next(days)
    alerts = Alerts(ledger)
    alerts.note(ACME, [budget(day, 1000)])
    await alerts.flush()
    trips.clear()
    for used in range(1000, 1100):
        alerts.note(ACME, [budget(day, used)])
    await alerts.flush()
    assert trips == []


async def test_a_record_whose_answer_was_lost_is_still_ones_own(ledger: PostgresLedger) -> None:
    event = audit_event("quota.alert", attributes={"sender": "one", "threshold": 80})
    other = replace(event, attributes={"sender": "two", "threshold": 80})
    assert [await ledger.record_first(ACME, each) for each in (event, other, event, other)] == [
        True,
        False,
        True,
        False,
    ]
    assert await ledger.record_first(GLOBEX, other)


async def test_with_the_database_away_alerts_wait(
    ledger: PostgresLedger,
    receiver: Receiver,
    days: Iterator[datetime],
    servers: Cluster,
    stores: Stores,
) -> None:
    day = next(days)
    async with open_alerts(ledger, receiver) as alerts:
        with away(servers, stores):
            alerts.note(ACME, [budget(day, 1000)])
            assert not await alerts.flush()
            assert receiver.posts == []
    assert len(await recorded(ledger, ACME, f"{day:%Y%m%d}")) == 2
    assert len(receiver.posts) == 2


async def test_a_receiver_that_never_takes_it_harms_nobody(
    ledger: PostgresLedger, receiver: Receiver, days: Iterator[datetime]
) -> None:
    day = next(days)
    receiver.script(*[500] * 5)
    failed = REGISTRY.get_sample_value("tenantry_alert_webhooks_total", {"outcome": "failed"}) or 0
    async with open_alerts(ledger, receiver) as alerts:
        alerts.note(ACME, [budget(day, 800)])
    assert len(receiver.posts) == 5
    assert len(await recorded(ledger, ACME, f"{day:%Y%m%d}")) == 1
    after = REGISTRY.get_sample_value("tenantry_alert_webhooks_total", {"outcome": "failed"})
    assert after == failed + 1


class Broken:
    """A ledger that fails as it is told, and remembers what it took."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = [*faults]
        self.took: list[UUID] = []

    async def record_first(self, _tenant_id: TenantId, event: AuditEvent) -> bool:
        if self.faults:
            raise self.faults.pop(0)
        self.took.append(event.event_id)
        return True


@pytest.mark.parametrize("fault", [Unavailable(), asyncio.CancelledError()], ids=repr)
async def test_what_could_not_be_recorded_is_recorded_later(
    fault: BaseException, days: Iterator[datetime]
) -> None:
    broken = Broken(fault)
    alerts = Alerts(broken)
    alerts.note(ACME, [budget(next(days), 1000)])
    with suppress(asyncio.CancelledError):
        assert not await alerts.flush()
    assert await alerts.flush()
    assert len(broken.took) == 2


async def test_an_alert_that_no_database_takes_ends_no_others(days: Iterator[datetime]) -> None:
    broken = Broken(psycopg.errors.CheckViolation())
    async with open_alerts(broken) as alerts:
        alerts.note(ACME, [budget(next(days), 1000)])
    assert len(broken.took) == 1


async def test_memory_is_bounded(days: Iterator[datetime]) -> None:
    broken = Broken()
    alerts = Alerts(broken, most_told=3, most_waiting=5)
    noted = [budget(next(days), 800) for _ in range(9)]
    alerts.note(ACME, noted)
    await alerts.flush()
    assert len(broken.took) == 5
    alerts.note(ACME, noted[2:5])  # remembered
    alerts.note(ACME, noted[5:])  # had no room, and is noticed again
    await alerts.flush()
    assert len(broken.took) == 9
    alerts.note(ACME, noted[:1])  # forgotten: the database knows
    await alerts.flush()
    assert len(broken.took) == 10
