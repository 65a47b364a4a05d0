"""How many calls an endpoint takes at once: found out from how it answers.

The gradient of Netflix's concurrency-limits (`Gradient2Limit`): a window of calls is compared with
the long-term average; the limit shrinks when the window is slower, and grows by a little that may
queue when it is not. What is compared is time per unit of work, as calls differ in length. A
refusal of the endpoint halves the limit, once a round trip.
"""

from dataclasses import dataclass
from math import sqrt

FIRST_LIMIT = 32
CALL_TOKENS = 200  # a call costs time before its first token: as much as so many tokens
WINDOW_CALLS = 10
WINDOW_SECONDS = 0.5
LONG_WINDOWS = 600  # that the long-term average looks back
WARM_WINDOWS = 10  # in which it is a plain average
TOLERANCE = 1.5  # a window so much slower than the average says nothing yet
SMOOTHING = 0.2
LEAST_GRADIENT = 0.5
QUEUE = 4  # calls that may queue at the endpoint, or the root of the limit if that is more
BACK_OFF = 0.5
ROUND_TRIP_SECONDS = 1.0  # of an endpoint that has not answered yet
LEAST_ROUND_TRIP_SECONDS = 0.1
MOST_ROUND_TRIP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What one replica says of an endpoint: numbers that the others need to take their part."""

    in_flight: int
    calls: int  # in flight or waiting
    weight: int  # of the lines whose calls they are
    limit: float
    part: int
    paused_seconds: float  # that the endpoint itself told this replica


@dataclass(frozen=True, slots=True)
class Share:
    """What the replicas leave to one of them: its part of the limit that they agree on."""

    part: int
    limit: float
    replicas: int
    paused_seconds: float  # that the endpoint told the others


@dataclass(slots=True)
class _Window:
    since: float
    calls: int = 0
    seconds: float = 0.0
    work: float = 0.0
    used: bool = False

    def is_over(self, now: float) -> bool:
        """With calls enough, and so long that the last change of the limit shows in them."""
        if self.calls < WINDOW_CALLS:
            return False
        return now - self.since >= max(WINDOW_SECONDS, self.seconds / self.calls)


class Throttle:
    """The limit of one endpoint, never below 1 and never above `most`; times are seconds."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.limit = float(min(most, FIRST_LIMIT))
        self._window: _Window | None = None
        self._long = 0.0
        self._windows = 0
        self._round_trip = 0.0
        self._deaf_until = 0.0
        self._paused_until = 0.0

    def observe(self, now: float, *, seconds: float, tokens: int, used: bool) -> None:
        """A call was answered; `used` says whether the limit was of any concern meanwhile."""
        self._round_trip += (seconds - self._round_trip) * (0.1 if self._round_trip else 1)
        window = self._window = self._window or _Window(now)
        window.calls += 1
        window.seconds += seconds
        window.work += tokens + CALL_TOKENS
        window.used |= used
        if window.is_over(now):
            self._window = None
            self._judge(window.seconds / window.work, used=window.used)

    def press(self, now: float, *, retry_after_seconds: float = 0.0) -> bool:
        """The endpoint refused a call, or broke; whether that changed the limit.

        Refusals within a round trip of the last back-off are of the same burst.
        """
        self._paused_until = max(self._paused_until, now + retry_after_seconds)
        if now < self._deaf_until:
            return False
        self._deaf_until = now + self._patience()
        self._window = None  # it measured what the endpoint does above its limit
        self._set(self.limit * BACK_OFF)
        return True

    def paused_seconds(self, now: float) -> float:
        """How long the endpoint asked to be left alone."""
        return max(0.0, self._paused_until - now)

    def adopt(self, limit: float) -> None:
        """Go on from the limit that replicas agreed on."""
        self._set(limit)

    def _patience(self) -> float:
        trip = self._round_trip or ROUND_TRIP_SECONDS
        return min(max(trip, LEAST_ROUND_TRIP_SECONDS), MOST_ROUND_TRIP_SECONDS)

    def _judge(self, short: float, *, used: bool) -> None:
        """Move the limit by what a window took per unit of work."""
        long = self._remember(short)
        if not used:
            return
        gradient = min(1.0, max(LEAST_GRADIENT, TOLERANCE * long / short)) if short else 1.0
        goal = self.limit * gradient + max(QUEUE, sqrt(self.limit))
        self._set(self.limit + (goal - self.limit) * SMOOTHING)

    def _remember(self, short: float) -> float:
        """The long-term average with this window; it falls faster than it rises."""
        self._windows += 1
        weight = 1 / self._windows if self._windows <= WARM_WINDOWS else 2 / (LONG_WINDOWS + 1)
        self._long += (short - self._long) * weight
        if self._long > 2 * short:
            self._long *= 0.9
        return self._long

    def _set(self, limit: float) -> None:
        self.limit = min(float(self._most), max(1.0, limit))
