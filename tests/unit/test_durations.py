"""What is expected of a duration: mostly no less than it will be."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tenancy.durations import Durations


def test_nothing_is_known_at_first() -> None:
    assert Durations(5.0).most() == 5.0


@given(st.floats(0.001, 1000))
def test_what_always_takes_as_long_is_expected_to(seconds: float) -> None:
    durations = Durations(5.0)
    for _ in range(100):
        durations.learn(seconds)
    assert seconds <= durations.most() * 1.0001 <= seconds * 1.001
    assert durations.most(3) <= 3.003 * seconds


def test_most_are_shorter_than_expected() -> None:
    dice, durations, late = Random(7), Durations(5.0), 0  # noqa: S311
    for _ in range(1000):
        seconds = dice.uniform(0.2, 1.5)
        late += seconds > durations.most()
        durations.learn(seconds)
    assert late <= 10
