"""Failures of one address wait longer and longer; it is bounded, and it is forgotten."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.slowdown import ADDRESSES, FREE_FAILURES, MOST_SECONDS, WAITING, Slowdown

HANDFUL = int(FREE_FAILURES)
ME = "192.0.2.1"
GAPS = st.floats(0, 100, allow_nan=False)
OTHERS = st.sampled_from(["198.51.100.7", "2001:db8::/64", "unknown"])


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
def slowdown(clock: Clock) -> Slowdown:
    return Slowdown(clock)


def test_a_handful_is_free_and_then_each_failure_waits_twice_as_long(slowdown: Slowdown) -> None:
    delays = [slowdown.failed(ME) for _ in range(HANDFUL + 9)]
    assert delays == [0] * HANDFUL + [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2]


@given(st.lists(GAPS, max_size=60))
def test_no_failure_waits_longer_than_the_most(gaps: list[float]) -> None:
    clock = Clock()
    slowdown = Slowdown(clock)
    for gap in gaps:
        clock.now += gap
        assert 0 <= slowdown.failed(ME) <= MOST_SECONDS


@given(st.lists(st.floats(60 / FREE_FAILURES, 1000), max_size=60))
def test_who_fails_no_oftener_than_a_handful_a_minute_never_waits(gaps: list[float]) -> None:
    clock = Clock()
    slowdown = Slowdown(clock)
    for gap in gaps:
        clock.now += gap
        assert slowdown.failed(ME) == 0


@given(st.lists(st.tuples(st.booleans(), OTHERS, GAPS), max_size=60))
def test_one_address_does_not_wait_for_another(failures: list[tuple[bool, str, float]]) -> None:
    clock = Clock()
    crowded, alone = Slowdown(clock), Slowdown(clock)
    for mine, other, gap in failures:
        clock.now += gap
        if mine:
            assert crowded.failed(ME) == alone.failed(ME)
        else:
            crowded.failed(other)


def test_however_often_it_failed_an_address_is_free_again_in_three_minutes(
    slowdown: Slowdown, clock: Clock
) -> None:
    for _ in range(10_000):
        slowdown.failed(ME)
    assert slowdown.failed(ME) == MOST_SECONDS
    clock.now += 180
    assert [slowdown.failed(ME) for _ in range(HANDFUL)] == [0] * HANDFUL


def test_so_many_addresses_are_remembered_and_the_latest_of_them(slowdown: Slowdown) -> None:
    for _ in range(HANDFUL):
        slowdown.failed(ME)
    for number in range(3 * ADDRESSES):
        slowdown.failed(f"address {number}")
        if number % (ADDRESSES // 2) == 0:
            assert slowdown.failed(ME) > 0
        assert len(slowdown._levels) <= ADDRESSES
    for number in range(ADDRESSES):
        slowdown.failed(f"further {number}")
    assert slowdown.failed(ME) == 0


class Held:
    """A pause that ends when it is told to."""

    def __init__(self) -> None:
        self.waiting = 0
        self.end = asyncio.Event()

    async def __call__(self, _seconds: float) -> None:
        self.waiting += 1
        await self.end.wait()


async def test_so_many_wait_at_once_and_the_others_do_not(clock: Clock) -> None:
    held = Held()
    slowdown = Slowdown(clock, held)
    for _ in range(HANDFUL):
        await slowdown.hold(ME)
    holding = [asyncio.create_task(slowdown.hold(ME)) for _ in range(WAITING)]
    await asyncio.sleep(0)
    assert held.waiting == WAITING
    async with asyncio.timeout(5):
        await slowdown.hold(ME)  # at once
    for task in holding[:10]:
        task.cancel()
    await asyncio.gather(*holding[:10], return_exceptions=True)
    again = [asyncio.create_task(slowdown.hold(ME)) for _ in range(20)]
    await asyncio.sleep(0)
    assert held.waiting == WAITING + 10  # whose clients went away made room
    held.end.set()
    await asyncio.gather(*holding[10:], *again)
    assert slowdown._waiting == 0


def test_without_another_pause_it_really_waits() -> None:
    assert Slowdown()._pause is asyncio.sleep
