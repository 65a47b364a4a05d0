"""When a model that keeps failing is left alone, and when it is tried again; time is passed in."""

from dataclasses import dataclass, replace

FAILURES = 5  # in a row: fewer happen to every endpoint now and then
FIRST_REST_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Closed, until calls fail in a row; then open for a rest; then one trial decides.

    Each rest after a failed trial is twice as long as the one before. Seconds count from any fixed
    instant. A call is any number that no other call has.
    """

    failures: int = 0
    rests: int = 0
    open_until: float = 0.0
    trial: int | None = None

    @property
    def is_closed(self) -> bool:
        """Whether calls go through without more ado."""
        return self.rests == 0

    def rest(self, now: float) -> float | None:
        """Seconds until a call may be worth a try; None when one may be made now."""
        if self.is_closed or (self.trial is None and now >= self.open_until):
            return None
        least = FIRST_REST_SECONDS if self.trial is not None else 0.0  # who knows when it ends
        return max(self.open_until - now, least)

    def began(self, call: int) -> "Breaker":
        """A call begins, as `rest` allowed; where the breaker is not closed it is the trial."""
        return self if self.is_closed else replace(self, trial=call)

    def succeeded(self, call: int) -> "Breaker":
        """An answer came. One to a call from before the breaker opened says nothing of now."""
        return CLOSED if self.is_closed or call == self.trial else self

    def failed(self, call: int, now: float, retry_after: float = 0.0) -> "Breaker":
        """The endpoint failed, and asked for `retry_after` seconds."""
        if self.is_closed and self.failures + 1 < FAILURES:
            return replace(self, failures=self.failures + 1)
        if self.is_closed or call == self.trial:
            seconds = max(_rest(self.rests), retry_after)
            return Breaker(rests=self.rests + 1, open_until=max(self.open_until, now + seconds))
        return replace(self, open_until=max(self.open_until, now + retry_after))

    def withdrew(self, call: int) -> "Breaker":
        """The call ended without a verdict on the endpoint."""
        return replace(self, trial=None) if call == self.trial else self


CLOSED = Breaker()


def _rest(before: int) -> float:
    return min(FIRST_REST_SECONDS * 2.0 ** min(before, 10), LONGEST_REST_SECONDS)
