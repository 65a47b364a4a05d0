"""A model that keeps failing is left alone, for longer and longer, and then tried by one call."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.breakers import Breakers
from tenancy.breaker import CLOSED, FAILURES, LONGEST_REST_SECONDS, Breaker
from tenancy.errors import BreakerOpen, ModelFailed
from tenancy.ids import TenantId

ACME, GLOBEX = TenantId("acme"), TenantId("globex")


@dataclass
class Story:
    """The same breaker told the long way: from everything that ever happened to it."""

    now: float = 0.0
    row: int = 0
    opened: list[tuple[float, float]] = field(default_factory=list)  # since it closed: when, rest
    wish: float = 0.0  # until when the endpoint asked to be left alone, while it was open
    trial: int | None = None

    def may_call(self) -> bool:
        if not self.opened:
            return True
        when, rest = self.opened[-1]
        return self.trial is None and self.now >= max(when + rest, self.wish)

    def begin(self, call: int) -> None:
        if self.opened:
            self.trial = call

    def succeed(self, call: int) -> None:
        if not self.opened or call == self.trial:
            self.row, self.opened, self.trial, self.wish = 0, [], None, 0.0

    def fail(self, call: int, asked: float) -> None:
        if self.opened and call != self.trial:
            self.wish = max(self.wish, self.now + asked)
            return
        self.row += 1
        if self.row >= FAILURES or self.opened:
            grown = [1, 2, 4, 8, 16, 32, 60][min(len(self.opened), 6)]
            self.opened.append((self.now, max(grown, asked)))
            self.trial = None

    def withdraw(self, call: int) -> None:
        if call == self.trial:
            self.trial = None


ENDS = st.sampled_from(["begin", "begin", "succeed", "fail", "fail", "fail", "withdraw"])
STEPS = st.lists(
    st.tuples(ENDS, st.integers(0, 3), st.sampled_from([0.0, 0.0, 3.0, 90.0]), st.integers(0, 40)),
    max_size=120,
)


@given(STEPS)
def test_it_does_what_its_story_says(steps: list[tuple[str, int, float, int]]) -> None:
    breaker, story = CLOSED, Story()
    calls: list[int] = []
    for number, (what, which, asked, seconds) in enumerate(steps):
        story.now += seconds / 4
        if what == "begin" or not calls:
            may = breaker.rest(story.now) is None
            assert may == story.may_call()
            if may:
                calls.append(number)
                breaker, _ = breaker.began(number), story.begin(number)
            continue
        call = calls.pop(which % len(calls))
        if what == "succeed":
            breaker, _ = breaker.succeeded(call), story.succeed(call)
        elif what == "fail":
            breaker, _ = breaker.failed(call, story.now, asked), story.fail(call, asked)
        else:
            breaker, _ = breaker.withdrew(call), story.withdraw(call)
    rest = breaker.rest(story.now)
    assert (rest is None) == story.may_call()
    assert rest is None or 0 < rest <= max(LONGEST_REST_SECONDS, 90.0)


def opened_by(failures: int) -> Breaker:
    breaker = CLOSED
    for call in range(failures):
        breaker = breaker.failed(call, 0.0)
    return breaker


def test_failures_in_a_row_open_it_and_others_do_not() -> None:
    assert opened_by(FAILURES - 1).rest(0.0) is None
    assert opened_by(FAILURES).rest(0.0) == 1
    assert opened_by(FAILURES - 1).succeeded(9).failed(10, 0.0).rest(0.0) is None


def test_each_failed_trial_doubles_the_rest_up_to_a_minute() -> None:
    breaker, now, rests = opened_by(FAILURES), 0.0, []
    for call in range(100, 109):
        rest = breaker.rest(now)
        assert rest is not None
        rests.append(rest)
        now += rest
        breaker = breaker.began(call).failed(call, now)
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_endpoints_own_wish_is_a_rest_where_it_is_longer() -> None:
    nearly = opened_by(FAILURES - 1)
    assert nearly.failed(9, 0.0, retry_after=30).rest(0.0) == 30
    assert nearly.failed(9, 0.0, retry_after=0.2).rest(0.0) == 1


class Clock:
    """The time, which passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock)


def fail(breakers: Breakers, tenant: TenantId, model: str, failures: Iterable[ModelFailed]) -> None:
    for failure in failures:
        with pytest.raises(ModelFailed) as caught, breakers.call(tenant, model):
            raise failure
        assert caught.value is failure


def is_open(breakers: Breakers, tenant: TenantId, model: str) -> bool:
    try:
        breakers.require_closed(tenant, model)
    except BreakerOpen:
        return True
    return False


FIVE = [ModelFailed(status=500) for _ in range(FAILURES)]


def test_one_tenants_failures_open_no_other_breaker(breakers: Breakers) -> None:
    fail(breakers, ACME, "big", FIVE)
    assert is_open(breakers, ACME, "big")
    assert not is_open(breakers, ACME, "small")
    assert not is_open(breakers, GLOBEX, "big")
    assert breakers.open() == {"big": 1}


@pytest.mark.parametrize("status", [400, 401, 404, 302])
def test_what_is_not_the_endpoints_fault_opens_nothing(breakers: Breakers, status: int) -> None:
    fail(breakers, ACME, "big", [ModelFailed(status=status) for _ in range(50)])
    assert not is_open(breakers, ACME, "big")


@pytest.mark.parametrize("status", [None, 429, 500, 503])
def test_what_is_its_fault_opens_it(breakers: Breakers, status: int | None) -> None:
    fail(breakers, ACME, "big", [ModelFailed(status=status) for _ in range(FAILURES)])
    assert is_open(breakers, ACME, "big")


def test_one_trial_at_a_time_and_its_success_closes(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, ACME, "big", FIVE)
    clock.now = 1.0
    with breakers.call(ACME, "big"):
        assert is_open(breakers, ACME, "big")
        assert breakers.open() == {"big": 1}
    assert not is_open(breakers, ACME, "big")
    assert len(breakers) == 0


@pytest.mark.parametrize("end", [asyncio.CancelledError(), ModelFailed(status=400), ValueError()])
def test_a_trial_without_a_verdict_leaves_room_for_another(
    breakers: Breakers, clock: Clock, end: BaseException
) -> None:
    fail(breakers, ACME, "big", FIVE)
    clock.now = 1.0
    with pytest.raises(type(end)), breakers.call(ACME, "big"):
        raise end
    assert not is_open(breakers, ACME, "big")


def test_who_is_refused_is_told_when_to_come_back(breakers: Breakers) -> None:
    asked = timedelta(seconds=12)
    fail(breakers, ACME, "big", [*FIVE[1:], ModelFailed(status=429, retry_after=asked)])
    with pytest.raises(BreakerOpen) as caught, breakers.call(ACME, "big"):
        raise AssertionError("it was called")
    assert caught.value.retry_after == asked


def test_what_is_remembered_is_bounded_and_a_trial_is_not_forgotten(clock: Clock) -> None:
    breakers = Breakers(clock, most=10)
    fail(breakers, ACME, "tried", FIVE)
    clock.now = 1.0
    with breakers.call(ACME, "tried"):
        for number in range(1000):
            fail(breakers, GLOBEX, f"m{number}", FIVE[:1])
        assert len(breakers) == 10
        assert is_open(breakers, ACME, "tried")
    for number in range(1000):
        with breakers.call(ACME, f"m{number}"):
            pass
    assert len(breakers) <= 10
