"""Limits as numbers a store can enforce: periods, budgets, holds and what a client is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tenancy.plan import UNLIMITED, Plan

HOLD_SECONDS = 600  # a settle that has not come by then is charged in full, and corrected if late
SLOT_SECONDS = 30  # a slot outlives a dead process by this much; living ones renew it
MINUTE, MICROSECOND = timedelta(minutes=1), timedelta(microseconds=1)


class Period(StrEnum):
    """A UTC calendar period over which tokens are budgeted."""

    MINUTE = "minute"
    DAY = "day"
    MONTH = "month"


def period_key(period: Period, now: datetime) -> str:
    """The name of the calendar period that holds `now`: 202611231405, 20261123 or 202611."""
    layout = {Period.MINUTE: "%Y%m%d%H%M", Period.DAY: "%Y%m%d", Period.MONTH: "%Y%m"}
    return now.astimezone(UTC).strftime(layout[period])


def period_end(period: Period, now: datetime) -> datetime:
    """The instant at which the period that holds `now` is over."""
    start = now.astimezone(UTC).replace(second=0, microsecond=0)
    if period is Period.MINUTE:
        return start + timedelta(minutes=1)
    midnight = start.replace(hour=0, minute=0)
    if period is Period.DAY:
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap on tokens in one period; `limit` is -1 when unlimited."""

    period: Period
    limit: int


def budgets_of(plan: Plan) -> tuple[Budget, ...]:
    """The plan's token budgets, shortest period first."""
    return (
        Budget(Period.MINUTE, plan.tokens_per_minute),
        Budget(Period.DAY, plan.tokens_per_day),
        Budget(Period.MONTH, plan.tokens_per_month),
    )


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests as a bucket: `burst` fit at once, and one place comes back every `interval`.

    `interval` is whole microseconds, rounded up: never faster than the plan says. None: unlimited.
    """

    interval: timedelta | None
    burst: int


def rate_of(plan: Plan) -> Rate:
    """The plan's request rate; none a minute is a bucket in which nothing ever fits."""
    if plan.requests_per_minute == UNLIMITED:
        return Rate(None, plan.burst)
    if plan.requests_per_minute == 0:
        return Rate(MINUTE, 0)
    microseconds = -(-(MINUTE // MICROSECOND) // plan.requests_per_minute)
    return Rate(timedelta(microseconds=microseconds), plan.burst)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tenant stands against one limit. `limit` is -1 when unlimited.

    Requests: `limit` is the rate, `used` what the bucket has not got back yet, `resets_at` when it
    is full again, and `burst` how many fit into it, which is what `remaining` counts down from.
    """

    meter: str
    period: str
    limit: int
    used: int
    held: int
    resets_at: datetime | None
    burst: int | None = None

    @property
    def remaining(self) -> int:
        """What would be admitted right now, never negative; meaningless when unlimited."""
        most = self.limit if self.burst is None else self.burst
        return max(0, most - self.used - self.held)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to an admission: where the tenant stands, and what refused it if anything did."""

    standings: tuple[Standing, ...]
    refused_by: str | None = None
    retry_after: timedelta = timedelta()
    held: int = 0

    @property
    def admitted(self) -> bool:
        """Whether the run may go on."""
        return self.refused_by is None


def rate_limit_headers(standings: Iterable[Standing], now: datetime) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) for limited meters.

    A policy reads `"name";q=quota;w=window seconds`, a standing `"name";r=remaining;t=seconds`.
    """
    limits, policies = [], []
    for standing in standings:
        if standing.limit == UNLIMITED:
            continue
        name = f"{standing.meter}-{standing.period}" if standing.period else standing.meter
        policy, limit = f'"{name}";q={standing.limit}', f'"{name}";r={standing.remaining}'
        if window := WINDOW_SECONDS.get(standing.period):
            policy += f";w={window}"
        if standing.resets_at is not None:
            limit += f";t={whole_seconds(standing.resets_at - now)}"
        policies.append(policy)
        limits.append(limit)
    if not policies:
        return {}
    return {"RateLimit": ", ".join(limits), "RateLimit-Policy": ", ".join(policies)}


# A month's length varies: 30 days tells a client enough, `t` is exact.
WINDOW_SECONDS = {"minute": 60, "day": 86_400, "month": 2_592_000}


def whole_seconds(duration: timedelta) -> int:
    """Seconds for `Retry-After`: rounded up, at least 0."""
    return max(0, math.ceil(duration.total_seconds()))


def token_bound(text: str) -> int:
    """An upper bound on the tokens of `text`: byte-level BPE never needs more than its bytes."""
    return len(text.encode("utf-8", "surrogatepass"))
