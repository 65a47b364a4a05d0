"""Who did most of late: counted over all tenants, by the operator's role and by no other."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.ledger import PostgresLedger
from storage.platform import Platform
from tenancy.audit import AuditEvent, Outcome
from tenancy.ids import SubjectId
from tenancy.usage import Meter, Noise, UsageEvent, usage_event_id
from tests.storage.makers import ACME, GLOBEX, audit_event, new_run

NOW = datetime(2040, 5, 1, 12, tzinfo=UTC)  # later than whatever else happens in these tests
LATELY, LONG_AGO = NOW - timedelta(minutes=1), NOW - timedelta(minutes=30)
SINCE = NOW - timedelta(minutes=5)


@pytest.fixture(scope="module")
async def platform(cells: Cells, stores: Stores) -> AsyncIterator[Platform]:
    ledger = PostgresLedger(cells)
    for tenant_id, at, runs, tokens in (
        (ACME, LATELY, 1, 800),
        (ACME, LONG_AGO, 9, 9_000_000),
        (GLOBEX, LATELY, 3, 200),
    ):
        await ledger.record(tenant_id, usage=[*_runs(at, runs, tokens)])
    audit = [
        *(_audit("run.start", Outcome.REFUSED) for _ in range(4)),
        _audit("run.finish", Outcome.FAILED),
        _audit("run.start", Outcome.FAILED),
        _audit("tool.call", Outcome.FAILED),
        _audit("run.start", Outcome.REFUSED, LONG_AGO),
    ]
    await ledger.record(GLOBEX, audit=audit)
    platform = Platform(stores.operator_url)
    await platform.open()
    yield platform
    await platform.close()


def _runs(at: datetime, runs: int, tokens: int) -> list[UsageEvent]:
    """What `runs` runs of `tokens` tokens each, a quarter of them input, leave behind."""
    made = [
        (Meter.RUNS, 1),
        (Meter.INPUT_TOKENS, tokens // 4),
        (Meter.OUTPUT_TOKENS, tokens - tokens // 4),
        (Meter.TOOL_CALLS, 2),
        (Meter.EMBEDDING_TOKENS, 50),
    ]
    return [
        UsageEvent(usage_event_id(run, meter, "x"), meter, quantity, "m", run, SubjectId("a"), at)
        for run in (new_run() for _ in range(runs))
        for meter, quantity in made
    ]


def _audit(action: str, outcome: Outcome, at: datetime = LATELY) -> AuditEvent:
    return replace(audit_event(action, created_at=at), outcome=outcome)


async def test_what_each_tenant_did_of_late_is_counted(platform: Platform) -> None:
    assert await platform.noisiest(SINCE, Noise.TOKENS, 20) == [
        {
            "tenant_id": "acme", "plan": "pro", "runs": 1, "tokens": 800, "tool_calls": 2,
            "refused": 0, "failed": 0, "share": 0.5714,
        },
        {
            "tenant_id": "globex", "plan": "free", "runs": 3, "tokens": 600, "tool_calls": 6,
            "refused": 4, "failed": 2, "share": 0.4286,
        },
    ]  # fmt: skip


@pytest.mark.parametrize("by", list(Noise))
async def test_who_did_most_comes_first(platform: Platform, by: Noise) -> None:
    rows = await platform.noisiest(LONG_AGO, by, 20)
    assert [row[by] for row in rows] == sorted((row[by] for row in rows), reverse=True)
    acme_leads = by in {Noise.TOKENS, Noise.RUNS, Noise.TOOL_CALLS}
    assert [row["tenant_id"] for row in rows] == sorted(["acme", "globex"], reverse=not acme_leads)


async def test_the_share_is_of_everybodys_tokens_whoever_is_shown(platform: Platform) -> None:
    [row] = await platform.noisiest(SINCE, Noise.REFUSED, 1)
    assert (row["tenant_id"], row["share"]) == ("globex", 0.4286)


async def test_who_did_nothing_is_not_shown(platform: Platform) -> None:
    assert await platform.noisiest(NOW, Noise.TOKENS, 20) == []


async def test_the_apps_role_counts_nobody(stores: Stores) -> None:
    app = Platform(stores.app_url)
    await app.open()
    try:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await app.noisiest(SINCE, Noise.TOKENS, 20)
    finally:
        await app.close()
