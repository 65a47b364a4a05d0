"""What the quota scripts are told and what they answer, in terms of plans and standings."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from storage.redis_client import Argument
from tenancy.plan import MAX_LIMIT, UNLIMITED, Plan
from tenancy.quota import (
    HOLD_SECONDS,
    MICROSECOND,
    SLOT_SECONDS,
    Period,
    Standing,
    Verdict,
    budgets_of,
    period_end,
    period_key,
    rate_of,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLACK = timedelta(hours=1)  # figures outlive their month by more than clocks differ
REFUSALS = (
    "requests",
    "concurrent_runs",
    "tokens per minute",
    "tokens per day",
    "tokens per month",
)


def frame(now: datetime, *, frozen: bool) -> tuple[Argument, ...]:
    """What every script is told: the time if Redis is not to use its own, periods, lifetimes."""
    names, ends = _calendar(now)
    return (
        _microseconds(now - EPOCH) if frozen else "",
        *names,
        _microseconds(ends[-1] + SLACK - now) // 1000,
        HOLD_SECONDS * 1_000_000,
        SLOT_SECONDS * 1_000_000,
    )


def budget_arguments(plan: Plan, now: datetime) -> tuple[int, ...]:
    """The limits of minute, day and month, then how long each of them still lasts."""
    _, ends = _calendar(now)
    limits = (budget.limit for budget in budgets_of(plan))
    return (*limits, *(_microseconds(end - now) for end in ends))


def gate_arguments(plan: Plan) -> tuple[int, int, int]:
    """What a request costs in time, how many may come at once, and how many may run."""
    rate = rate_of(plan)
    cost = UNLIMITED if rate.interval is None else _microseconds(rate.interval)
    return cost, rate.burst, plan.concurrent_runs


def checked(tokens: int) -> int:
    """`tokens` if a script can count with them: beyond 2**53 it would miscount silently."""
    if not 0 <= tokens <= MAX_LIMIT:
        raise ValueError(f"no number of tokens: {tokens}")
    return tokens


def verdict_of(reply: Sequence[int], plan: Plan, now: datetime) -> Verdict:
    """The decision in a script's reply; of several refusals, the one that lasts longest."""
    waits, debt, slots, figures = reply[:5], reply[5], reply[6], reply[7:13]
    held = sum(reply[13:])  # of an admission alone
    standings = (
        _requests(plan, debt * MICROSECOND, now),
        Standing("concurrent_runs", "", plan.concurrent_runs, slots, 0, None),
        *_tokens(plan, figures, now),
    )
    longest = max(waits)
    if not longest:
        return Verdict(standings, held=held)
    return Verdict(standings, REFUSALS[waits.index(longest)], longest * MICROSECOND)


def _requests(plan: Plan, until_full: timedelta, now: datetime) -> Standing:
    rate = rate_of(plan)
    if rate.interval is None:
        return Standing("requests", "minute", UNLIMITED, 0, 0, None)
    used = -(-until_full // rate.interval)
    limit = plan.requests_per_minute
    return Standing("requests", "minute", limit, used, 0, now + until_full, rate.burst)


def _tokens(plan: Plan, figures: Sequence[int], now: datetime) -> tuple[Standing, ...]:
    _, ends = _calendar(now)
    rows = zip(budgets_of(plan), figures[::2], figures[1::2], ends, strict=True)
    return tuple(
        Standing("tokens", budget.period, budget.limit, spent, held, end)
        for budget, spent, held, end in rows
    )


def _calendar(now: datetime) -> tuple[tuple[str, ...], tuple[datetime, ...]]:
    return _calendar_of_minute(now.replace(second=0, microsecond=0))


@lru_cache(maxsize=8)
def _calendar_of_minute(now: datetime) -> tuple[tuple[str, ...], tuple[datetime, ...]]:
    names = tuple(period_key(period, now) for period in Period)
    return names, tuple(period_end(period, now) for period in Period)


def _microseconds(duration: timedelta) -> int:
    return duration // MICROSECOND
