"""How many calls an endpoint takes: found from how it answers, in simulated time."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.throttle import FIRST_LIMIT, ROUND_TRIP_SECONDS, Throttle

seeds = pytest.mark.parametrize("random", [Random(seed) for seed in range(3)], ids=range(3))  # noqa: S311
MOST = 256


class Endpoint:
    """A model that works at `capacity` calls at full speed, and slower at more; always asked."""

    def __init__(
        self, throttle: Throttle, random: Random, *, capacity: int, noise: float = 0.0
    ) -> None:
        self.throttle = throttle
        self.random = random
        self.capacity = capacity
        self.noise = noise
        self.slowness = 1.0
        self.refuses_beyond: int | None = None
        self.now = 0.0
        self.in_flight = 0
        self.order = count()
        self.events: list[tuple[float, int, float, int]] = []

    def run(self, seconds: float, *, demand: Callable[[], int] = lambda: MOST) -> None:
        """Let time pass while `demand` callers would be in flight if they could."""
        end = self.now + seconds
        while self.now < end:
            while self.in_flight < min(int(self.throttle.limit), demand()):
                if not self._send():
                    break
            self._receive()

    def _send(self) -> bool:
        if self.refuses_beyond is not None and self.in_flight >= self.refuses_beyond:
            self.throttle.press(self.now)
            return False
        tokens = self.random.randint(50, 1500)
        load = max(1.0, (self.in_flight + 1) / self.capacity)
        noise = self.random.lognormvariate(0, self.noise)
        seconds = self.slowness * (0.05 + tokens / 2000) * load * noise
        heappush(self.events, (self.now + seconds, next(self.order), seconds, tokens))
        self.in_flight += 1
        return True

    def _receive(self) -> None:
        self.now, _, seconds, tokens = heappop(self.events)
        used = 2 * self.in_flight >= int(self.throttle.limit)
        self.in_flight -= 1
        self.throttle.observe(self.now, seconds=seconds, tokens=tokens, used=used)


@pytest.mark.parametrize("most", [1, 5, 32, 1000])
def test_it_begins_moderately(most: int) -> None:
    assert Throttle(most).limit == min(most, FIRST_LIMIT)


@seeds
def test_a_fast_endpoint_gets_all_there_is_however_noisy_it_is(random: Random) -> None:
    endpoint = Endpoint(Throttle(MOST), random, capacity=10_000, noise=0.5)
    endpoint.run(180)
    assert endpoint.throttle.limit >= 0.9 * MOST


@seeds
def test_an_endpoint_that_slows_down_under_load_is_not_flooded(random: Random) -> None:
    throttle = Throttle(MOST)
    endpoint = Endpoint(throttle, random, capacity=40, noise=0.2)
    endpoint.run(60)
    assert 30 <= throttle.limit <= 120


@seeds
def test_an_endpoint_that_becomes_slow_gets_less_and_then_more_again(random: Random) -> None:
    throttle = Throttle(MOST)
    endpoint = Endpoint(throttle, random, capacity=10_000, noise=0.2)
    endpoint.run(120)
    before = throttle.limit
    endpoint.slowness = 4.0
    endpoint.run(60)
    assert throttle.limit < before / 3
    endpoint.slowness = 1.0
    endpoint.run(180)
    assert throttle.limit > before / 2


def test_a_few_slow_calls_change_nothing() -> None:
    endpoint = Endpoint(Throttle(MOST), Random(1), capacity=10_000)  # noqa: S311
    endpoint.run(60)
    before = endpoint.throttle.limit
    for _ in range(9):
        endpoint.throttle.observe(endpoint.now, seconds=60, tokens=10, used=True)
    assert endpoint.throttle.limit == before


def test_long_calls_are_no_sign_of_trouble() -> None:
    throttle, now = Throttle(MOST), 0.0
    for tokens in (100, 4000):
        for _ in range(100):
            now += 0.1
            throttle.observe(now, seconds=(200 + tokens) / 1000, tokens=tokens, used=True)
    assert throttle.limit > FIRST_LIMIT


def test_it_grows_only_while_it_is_used() -> None:
    throttle, now = Throttle(MOST), 0.0
    for _ in range(500):
        now += 0.1
        throttle.observe(now, seconds=0.2, tokens=100, used=False)
    assert throttle.limit == FIRST_LIMIT


def test_a_burst_of_refusals_halves_it_once_and_the_next_again() -> None:
    throttle = Throttle(MOST)
    assert [throttle.press(0.01 * n) for n in range(50)] == [True] + [False] * 49
    assert throttle.limit == FIRST_LIMIT / 2
    assert throttle.press(ROUND_TRIP_SECONDS + 0.01)
    assert throttle.limit == FIRST_LIMIT / 4


def test_a_burst_is_what_comes_within_a_round_trip() -> None:
    throttle = Throttle(MOST)
    for n in range(20):
        throttle.observe(n, seconds=8, tokens=100, used=False)
    assert throttle.press(100)
    assert not throttle.press(107.9)
    assert throttle.press(108.1)


def test_what_the_endpoint_asks_for_is_kept_and_never_shortened() -> None:
    throttle = Throttle(MOST)
    throttle.press(10, retry_after_seconds=30)
    throttle.press(11, retry_after_seconds=5)
    assert throttle.paused_seconds(12) == 28
    throttle.press(13, retry_after_seconds=100)
    assert throttle.paused_seconds(13) == 100
    assert throttle.paused_seconds(114) == 0


@seeds
def test_a_limit_of_the_endpoint_is_found_and_used(random: Random) -> None:
    throttle = Throttle(MOST)
    endpoint = Endpoint(throttle, random, capacity=10_000, noise=0.2)
    endpoint.refuses_beyond = 60
    endpoint.run(120)
    assert 25 <= throttle.limit <= 66
    endpoint.refuses_beyond = None
    endpoint.run(180)
    assert throttle.limit > 150


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["observe", "press", "adopt"]),
        st.floats(0, 1000, allow_nan=False),
        st.integers(0, 10_000),
        st.booleans(),
    ),
    max_size=300,
)


@given(st.integers(1, MOST), ANSWERS)
def test_it_stays_within_its_bounds(most: int, answers: list[tuple[str, float, int, bool]]) -> None:
    throttle, now = Throttle(most), 0.0
    for what, seconds, tokens, used in answers:
        now += seconds / 10
        match what:
            case "observe":
                throttle.observe(now, seconds=seconds, tokens=tokens, used=used)
            case "press":
                throttle.press(now, retry_after_seconds=seconds)
            case "adopt":
                throttle.adopt(seconds)
        assert 1 <= throttle.limit <= most
        assert throttle.paused_seconds(now) >= 0
