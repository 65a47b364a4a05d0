"""A refusal by a rate is remembered until its place is back, and no longer."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.refusals import KEPT, Refusals
from tenancy.errors import QuotaExceeded
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import FREE
from tenancy.quota import Verdict

ACME, ANN, BOB = TenantId("acme"), SubjectId("ann"), SubjectId("bob")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(by: str, seconds: float = 3) -> Verdict:
    return Verdict((), by, timedelta(seconds=seconds))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock) -> Refusals:
    return Refusals(clock)


def test_who_was_refused_is_refused_until_a_place_is_back(clock: Clock, refusals: Refusals) -> None:
    refusals.note(ACME, ANN, FREE, refused("requests"))
    clock.now += 1
    with pytest.raises(QuotaExceeded) as told:
        refusals.require_place(ACME, BOB, FREE)
    assert told.value.retry_after == timedelta(seconds=2)
    clock.now += 2
    refusals.require_place(ACME, BOB, FREE)


def test_a_users_own_rate_refuses_nobody_else(refusals: Refusals) -> None:
    refusals.note(ACME, ANN, FREE, refused("user requests"))
    refusals.require_place(ACME, BOB, FREE)
    refusals.require_place(TenantId("globex"), ANN, FREE)
    with pytest.raises(QuotaExceeded):
        refusals.require_place(ACME, ANN, FREE)


def test_another_plan_ends_the_memory(refusals: Refusals) -> None:
    refusals.note(ACME, ANN, FREE, refused("requests"))
    refusals.require_place(ACME, ANN, replace(FREE, burst=6))


@pytest.mark.parametrize("by", ["concurrent_runs", "tokens per day", "queue"])
def test_what_may_have_room_sooner_is_asked_again(refusals: Refusals, by: str) -> None:
    refusals.note(ACME, ANN, FREE, refused(by))
    refusals.require_place(ACME, ANN, FREE)


def test_the_memory_is_bounded(refusals: Refusals) -> None:
    for number in range(KEPT + 5):
        refusals.note(TenantId(f"t{number}"), ANN, FREE, refused("requests"))
    refusals.require_place(TenantId("t0"), ANN, FREE)
    with pytest.raises(QuotaExceeded):
        refusals.require_place(TenantId(f"t{KEPT}"), ANN, FREE)
