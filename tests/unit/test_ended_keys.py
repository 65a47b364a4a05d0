"""Attempts with a key that ended are one audit event a round, and none of them is lost."""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from server.ended_keys import KEYS, RECORD_SECONDS, EndedKeys
from server.refusal import Kind
from tenancy.audit import Outcome
from tenancy.credentials import ApiKey
from tenancy.errors import Unavailable
from tenancy.ids import KeyId, SubjectId, TenantId
from tenancy.principal import Role


class Ledger:
    """What was recorded; or why it was not."""

    def __init__(self) -> None:
        self.events = []
        self.fault: BaseException | None = None

    async def record(self, tenant_id, *, audit) -> None:
        if self.fault is not None:
            raise self.fault
        self.events += [(tenant_id, event) for event in audit]

    def attempts(self) -> Counter:
        """How many attempts of each key were recorded."""
        found: Counter = Counter()
        for _, event in self.events:
            found[event.resource] += event.attributes["attempts"]
        return found


def key(tenant: str = "acme") -> ApiKey:
    now = datetime.now(UTC)
    return ApiKey(KeyId(uuid4()), TenantId(tenant), SubjectId("robot"), Role.MEMBER, (), now)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


async def test_a_thousand_attempts_are_one_event_in_the_keys_own_tenant(ledger: Ledger) -> None:
    ended, keys = key("globex"), EndedKeys(ledger)
    for _ in range(1000):
        keys.mark(ended, Kind.EXPIRED_KEY)
    assert ledger.events == []
    await keys.flush()
    await keys.flush()
    [(tenant, event)] = ledger.events
    assert (tenant, event.action, event.outcome) == ("globex", "key.use", Outcome.REFUSED)
    assert (event.actor, event.subject_id) == (f"key:{ended.key_id}", "robot")
    assert event.attributes == {"reason": "expired_key", "attempts": 1000}


@pytest.mark.parametrize("fault", [Unavailable(), asyncio.CancelledError()], ids=repr)
async def test_what_could_not_be_recorded_is_recorded_later(
    ledger: Ledger, fault: BaseException
) -> None:
    first, second, keys = key(), key(), EndedKeys(ledger)
    keys.mark(first, Kind.REVOKED)
    keys.mark(second, Kind.REVOKED)
    ledger.fault = fault
    if isinstance(fault, Unavailable):
        await keys.flush()
    else:
        with pytest.raises(asyncio.CancelledError):
            await keys.flush()
    keys.mark(first, Kind.REVOKED)
    ledger.fault = None
    await keys.flush()
    assert ledger.attempts() == {str(first.key_id): 2, str(second.key_id): 1}
    assert len(ledger.events) == 2


async def test_attempts_during_a_record_that_fails_are_added(ledger: Ledger) -> None:
    ended, keys = key(), EndedKeys(ledger)

    async def fail(_tenant, *, audit) -> None:
        keys.mark(ended, Kind.REVOKED)
        raise Unavailable

    record, ledger.record = ledger.record, fail
    keys.mark(ended, Kind.REVOKED)
    await keys.flush()
    ledger.record = record
    await keys.flush()
    assert ledger.attempts() == {str(ended.key_id): 2}


async def test_so_many_keys_are_remembered(ledger: Ledger) -> None:
    keys, shown = EndedKeys(ledger), [key() for _ in range(KEYS + 5)]
    for each in [*shown, *shown]:
        keys.mark(each, Kind.REVOKED)
    await keys.flush()
    assert ledger.attempts() == {str(each.key_id): 2 for each in shown[:KEYS]}


async def test_rounds_follow_one_another(ledger: Ledger) -> None:
    ended, keys, pauses = key(), EndedKeys(ledger), []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 2:
            raise asyncio.CancelledError
        keys.mark(ended, Kind.REVOKED)

    with pytest.raises(asyncio.CancelledError):
        await keys.keep(pause)
    assert pauses == [RECORD_SECONDS] * 3
    assert len(ledger.events) == 2
