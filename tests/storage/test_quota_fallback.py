"""Quotas without Redis: the words of `RedisQuota`, and what the ledger knows."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from server.quota_fallback import LocalQuota
from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import FREE, UNLIMITED
from tenancy.quota import Claim

ACME, ALICE = TenantId("acme"), SubjectId("alice")
NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
PLAN = replace(FREE, requests_per_minute=UNLIMITED, tokens_per_minute=UNLIMITED, tokens_per_day=800)


class Ledger:
    """What was spent, and who asked; it may be away."""

    def __init__(self, tokens: int = 0) -> None:
        self.tokens = tokens
        self.asked: list[SubjectId | None] = []
        self.is_away = False

    async def spent(
        self, tenant_id: TenantId, subject_id: SubjectId | None, now: datetime
    ) -> Sequence[Claim]:
        self.asked.append(subject_id)
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return [Claim(0), Claim(self.tokens), Claim(self.tokens)]


class Outages:
    """The number of the outage, and of the replicas."""

    def __init__(self) -> None:
        self.number, self.replicas = 1, 2


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def outages() -> Outages:
    return Outages()


@pytest.fixture
def local(ledger: Ledger, outages: Outages) -> LocalQuota:
    return LocalQuota(
        ledger.spent,
        replicas=lambda: outages.replicas,
        outage=lambda: outages.number,
        clock=lambda: NOON,
    )


def new_run() -> RunId:
    return RunId(uuid4())


async def test_a_run_is_admitted_settled_and_released(local: LocalQuota) -> None:
    run = new_run()
    verdict = await local.admit(
        ACME, PLAN, run_id=run, subject_id=ALICE, offers=[Claim(100)], wanted=Claim(900)
    )
    assert (verdict.admitted, verdict.held) == (True, Claim(100))
    assert await local.renew(ACME, run)
    assert await local.settle(ACME, run_id=run, call=0, actual=Claim(60))
    reserved = await local.reserve(ACME, PLAN, run_id=run, call=1, offers=[Claim(900), Claim(40)])
    assert reserved.chosen == 1
    await local.release(ACME, run, last=(1, Claim(30)))
    runs, _, day, _ = (await local.standings(ACME, PLAN))[1:5]
    assert (runs.used, day.used, day.held, day.limit) == (0, 90, 0, 800)


async def test_the_ledger_is_asked_once_an_outage_and_for_users_where_they_are_limited(
    local: LocalQuota, ledger: Ledger, outages: Outages
) -> None:
    for _ in range(2):
        run = new_run()
        await local.admit(ACME, PLAN, run_id=run, subject_id=ALICE, offers=[Claim(1)])
        await local.release(ACME, run)
    assert ledger.asked == [None]
    limited = replace(PLAN, user_tokens_per_day=100)
    await local.admit(ACME, limited, run_id=new_run(), subject_id=ALICE, offers=[Claim(1)])
    assert ledger.asked == [None, ALICE]
    outages.number = 2
    await local.standings(ACME, PLAN, ALICE)
    assert ledger.asked == [None, ALICE, None]


async def test_what_the_ledger_says_was_spent_is_not_given_again(
    local: LocalQuota, ledger: Ledger
) -> None:
    ledger.tokens = 760
    with pytest.raises(Unavailable):
        await local.admit(ACME, PLAN, run_id=new_run(), offers=[Claim(21)])
    run = new_run()
    assert (await local.admit(ACME, PLAN, run_id=run, offers=[Claim(20)])).admitted


async def test_without_a_ledger_the_fraction_alone_counts(
    local: LocalQuota, ledger: Ledger
) -> None:
    ledger.is_away = True
    assert (await local.admit(ACME, PLAN, run_id=new_run(), offers=[Claim(100)])).admitted


async def test_hard_limits_are_not_guessed(local: LocalQuota) -> None:
    plan, run = replace(PLAN, hard_limits=1), new_run()
    with pytest.raises(Unavailable):
        await local.admit(ACME, plan, run_id=run, offers=[Claim(1)])
    with pytest.raises(Unavailable):
        await local.reserve(ACME, plan, run_id=run, call=1, offers=[Claim(1)])
    assert await local.settle(ACME, run_id=run, call=0, actual=Claim(1))
    await local.release(ACME, run, last=(1, Claim(1)))
    assert await local.standings(ACME, plan)


async def test_many_at_once_share_what_there_is(local: LocalQuota) -> None:
    plan = replace(PLAN, concurrent_runs=UNLIMITED)
    verdicts = await asyncio.gather(
        *(local.admit(ACME, plan, run_id=new_run(), offers=[Claim(10)]) for _ in range(30)),
        return_exceptions=True,
    )
    assert sum(getattr(verdict, "admitted", False) for verdict in verdicts) == 10


async def test_what_began_in_an_outage_that_is_over_ends_well(
    local: LocalQuota, outages: Outages
) -> None:
    run = new_run()
    await local.admit(ACME, PLAN, run_id=run, offers=[Claim(100)])
    outages.number = 2
    assert await local.settle(ACME, run_id=run, call=0, actual=Claim(60))
    assert not await local.settle(ACME, run_id=run, call=0, actual=Claim(60))
    await local.standings(ACME, PLAN)
    assert await local.renew(ACME, run)
    await local.release(ACME, run)
    assert (await local.standings(ACME, PLAN))[1].used == 0
