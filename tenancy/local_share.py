"""How much of each limit one process may give out by itself while the counters are away.

Let `n` be the replicas last seen and `f` the fraction published as `LOCAL_FRACTION`.

- Requests: a place comes back `n / f` times as slowly, and `f / n` of the burst fit, at least one.
- Runs: `f / n` of the plan's, at least one; 64 where the plan has no limit.
- Tokens and money of a period with the limit `L`, of which `left` was left by the ledger:
  `min(f * L, left) / n`, or one single call that takes at most `left / n`.

So all replicas together give out at most `left` of a period, and, single calls aside, at most
`f * L`. What is unlimited stays so.
"""

from dataclasses import dataclass
from fractions import Fraction

from tenancy.plan import UNLIMITED
from tenancy.quota import Rate

LOCAL_FRACTION = Fraction(1, 4)
MOST_RUNS = 64  # of a tenant without a limit: a process that cannot ask anybody stays modest


@dataclass(frozen=True, slots=True)
class Share:
    """What one process gives of a budget: `usual` in all, or a single call of at most `once`."""

    usual: int
    once: int

    def fits(self, amount: int, taken: int) -> bool:
        """Whether `amount` may be taken where `taken` already is, by others than this call."""
        return taken + amount <= self.usual or (taken == 0 and amount <= self.once)


def share_of(limit: int, spent: int, replicas: int) -> Share:
    """The share of a limit of which `spent` was spent before this process counted."""
    left = max(0, limit - spent)
    fraction = limit * LOCAL_FRACTION.numerator // LOCAL_FRACTION.denominator
    return Share(min(fraction, left) // replicas, left // replicas)


def local_rate(rate: Rate, replicas: int) -> Rate:
    """The share of a request rate."""
    if rate.interval is None:
        return rate
    slower = rate.interval * replicas * LOCAL_FRACTION.denominator // LOCAL_FRACTION.numerator
    return Rate(slower, _at_least_one(rate.burst, replicas))


def local_slots(runs: int, replicas: int) -> int:
    """The share of the runs that may go on at once."""
    return MOST_RUNS if runs == UNLIMITED else _at_least_one(runs, replicas)


def _at_least_one(limit: int, replicas: int) -> int:
    return min(limit, max(1, int(limit * LOCAL_FRACTION / replicas)))
