"""Limits as numbers a store can enforce: periods, budgets, holds and what a client is told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tenancy.plan import UNLIMITED, Plan

HOLD_SECONDS = 60  # living runs renew; one that does not is charged in full, and corrected if late
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


def period_start(period: Period, now: datetime) -> datetime:
    """The instant at which the period that holds `now` began."""
    start = now.astimezone(UTC).replace(second=0, microsecond=0)
    if period is Period.MINUTE:
        return start
    midnight = start.replace(hour=0, minute=0)
    return midnight if period is Period.DAY else midnight.replace(day=1)


def period_end(period: Period, now: datetime) -> datetime:
    """The instant at which the period that holds `now` is over."""
    start = period_start(period, now)
    if period is Period.MONTH:
        return (start + timedelta(days=32)).replace(day=1)
    return start + (timedelta(minutes=1) if period is Period.MINUTE else timedelta(days=1))


class Level(StrEnum):
    """Who is limited: the tenant, each user inside it, each run."""

    TENANT = "tenant"
    USER = "user"
    RUN = "run"


TENANT_AND_USER = (Level.TENANT, Level.USER)
METERS = ("tokens", "money")
TOKENS_PER_RUN = "tokens per run"  # the one limit that no waiting helps against


@dataclass(frozen=True, slots=True)
class Budget:
    """A cap in one period: tokens, or minor units of money. `limit` is -1 when unlimited."""

    level: Level
    meter: str
    period: Period
    limit: int

    @property
    def name(self) -> str:
        """As a refusal says it: `tokens per day`, `user money per month`."""
        return f"{_of_level(self.level)}{self.meter} per {self.period}"


def budgets_of(plan: Plan) -> tuple[Budget, ...]:
    """The budgets of tenant and user: tokens, then money, each with the shortest period first."""
    return tuple(
        Budget(level, meter, period, _limit(plan, level, f"{meter}_per_{period}"))
        for level in TENANT_AND_USER
        for meter in METERS
        for period in Period
    )


def slots_of(plan: Plan) -> tuple[int, int]:
    """How many runs of the tenant, and of one user, may go on at once."""
    return plan.concurrent_runs, plan.user_concurrent_runs


def limits_users(plan: Plan) -> bool:
    """Whether each user has budgets of its own: their figures must then be known."""
    return any(b.limit != UNLIMITED for b in budgets_of(plan) if b.level is Level.USER)


def _limit(plan: Plan, level: Level, field: str) -> int:
    limit: int = getattr(plan, f"user_{field}" if level is Level.USER else field, UNLIMITED)
    return limit


def _of_level(level: Level) -> str:
    return "user " if level is Level.USER else ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one model call may cost at most, or did cost: tokens and micro-units of money."""

    tokens: int
    micros: int = 0
    input_tokens: int = 0  # of the tokens, those of the prompt
    model: str = ""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests as a bucket: `burst` fit at once, and one place comes back every `interval`.

    `interval` is whole microseconds, rounded up: never faster than the plan says. None: unlimited.
    """

    interval: timedelta | None
    burst: int


def rate_of(plan: Plan, level: Level = Level.TENANT) -> Rate:
    """The plan's request rate; none a minute is a bucket in which nothing ever fits."""
    a_minute, burst = _limit(plan, level, "requests_per_minute"), _limit(plan, level, "burst")
    if a_minute == UNLIMITED:
        return Rate(None, burst)
    if a_minute == 0:
        return Rate(MINUTE, 0)
    return Rate(timedelta(microseconds=-(-(MINUTE // MICROSECOND) // a_minute)), burst)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a tenant stands against one limit. `limit` is -1 when unlimited.

    Requests: `limit` is the rate, `used` what the bucket has not got back yet, `resets_at` when it
    is full again, and `burst` how many fit into it, which is what `remaining` counts down from.
    `level` is whose limit it is: the tenant's, the user's or the run's.
    """

    meter: str
    period: str
    limit: int
    used: int
    held: int
    resets_at: datetime | None
    burst: int | None = None
    level: str = Level.TENANT

    @property
    def name(self) -> str:
        """As headers name it: `tokens-day`, `user-requests-minute`, `concurrent_runs`."""
        parts = (_of_level(Level(self.level)).strip(), self.meter, self.period)
        return "-".join(part for part in parts if part)

    @property
    def remaining(self) -> int:
        """What would be admitted right now, never negative; meaningless when unlimited."""
        most = self.limit if self.burst is None else self.burst
        return max(0, most - self.used - self.held)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to an admission: where the tenant stands, and what refused it if anything did.

    `chosen` is the index of the offer that is held, `held` what the call holds now. `held_at` says
    in which periods that counts. `served` grows by every token settled for the tenant, anywhere;
    `expired` is how many holds this decision found expired, to be reconciled.
    """

    standings: tuple[Standing, ...]
    refused_by: str | None = None
    retry_after: timedelta = timedelta()
    chosen: int = 0
    held: Claim = Claim(0)
    held_at: datetime | None = None
    served: int = 0
    expired: int = 0

    @property
    def admitted(self) -> bool:
        """Whether the run may go on."""
        return self.refused_by is None

    @property
    def is_estimate(self) -> bool:
        """Whether `retry_after` is a guess: runs end when they end."""
        return self.refused_by is not None and self.refused_by.endswith("concurrent_runs")


def rate_limit_headers(standings: Iterable[Standing], now: datetime) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) for limited meters.

    A policy reads `"name";q=quota;w=window seconds`, a standing `"name";r=remaining;t=seconds`.
    """
    limits, policies = [], []
    for standing in standings:
        if standing.limit == UNLIMITED:
            continue
        name = standing.name
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
