"""What the quota scripts are asked and what they answer, in terms of plans and standings."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from tenancy.ids import SubjectId
from tenancy.plan import MAX_LIMIT, UNLIMITED, Plan
from tenancy.price import MICROS
from tenancy.quota import (
    HOLD_SECONDS,
    MICROSECOND,
    SLOT_SECONDS,
    TENANT_AND_USER,
    TOKENS_PER_RUN,
    Budget,
    Claim,
    Level,
    Period,
    Rate,
    Standing,
    Verdict,
    budgets_of,
    limits_users,
    period_end,
    period_key,
    rate_of,
    slots_of,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLACK = timedelta(hours=1)  # figures outlive their month by more than clocks differ
UNKNOWN = [-1]  # the reply where Redis has no figures: the ledger must say what was spent
FIGURES = 12  # of one level: spent, held, cost and cost held of minute, day and month
HEAD = 5  # chosen, expired, tokens and cost held, served

Question = dict[str, Any]


def user_digest(subject_id: SubjectId | None) -> str:
    """How a user is named in keys: nobody's address stands in Redis. '' for none."""
    return blake2b(subject_id.encode(), digest_size=8).hexdigest() if subject_id else ""


def frame(now: datetime, *, frozen: bool) -> Question:
    """What every script is told: the time if Redis is not to use its own, periods, lifetimes."""
    names, ends = _calendar(now)
    told: Question = {
        "periods": names,
        "keep_ms": _microseconds(ends[-1] + SLACK - now) // 1000,
        "hold_us": HOLD_SECONDS * 1_000_000,
        "slot_us": SLOT_SECONDS * 1_000_000,
        "user": "",
    }
    return told | {"now": _microseconds(now - EPOCH)} if frozen else told


def budget_question(plan: Plan, now: datetime, offers: Sequence[Claim]) -> Question:
    """The limits of every budget, how long their periods last, and what is to be held."""
    _, ends = _calendar(now)
    return {
        "offers": [claimed(offer) for offer in offers],
        **_budgets(plan),
        "left_us": [_microseconds(end - now) for end in ends],
    }


@lru_cache(maxsize=4096)
def _budgets(plan: Plan) -> Question:
    return {
        "budgets": [_in_micros(budget) for budget in budgets_of(plan)],
        "user_is_limited": limits_users(plan),
        "run_tokens": plan.tokens_per_run,
    }


@lru_cache(maxsize=4096)
def gate_question(plan: Plan) -> Question:
    """What a request costs in time, how many may come at once, and how many may run."""
    rates = [rate_of(plan, level) for level in TENANT_AND_USER]
    return {
        "rates": [
            (UNLIMITED if r.interval is None else _microseconds(r.interval), r.burst) for r in rates
        ],
        "slots": slots_of(plan),
    }


def claimed(claim: Claim) -> tuple[int, int, int, str]:
    """A claim as the scripts take it."""
    return checked(claim.tokens), checked(claim.micros), checked(claim.input_tokens), claim.model


def checked(amount: int) -> int:
    """`amount` if a script can count with it: beyond 2**53 it would miscount silently."""
    if not 0 <= amount <= MAX_LIMIT:
        raise ValueError(f"no number of tokens: {amount}")
    return amount


def verdict_of(
    reply: Sequence[int], plan: Plan, now: datetime, *, gate: bool, user: bool
) -> Verdict:
    """The decision in a script's reply; of several refusals, the one that lasts longest.

    `gate`: rates and slots were asked too; `user`: a user was named.
    """
    levels = TENANT_AND_USER if user else TENANT_AND_USER[:1]
    chosen, expired, tokens, micros, served = reply[:HEAD]
    tail = len(reply) - (2 + FIGURES) * len(levels)
    waits, standings = reply[HEAD:tail], _standings(reply[tail:], plan, now, levels)
    held = Claim(tokens, micros)
    longest = max(waits, default=0)
    refused_by = _refusals(gate, user)[waits.index(longest)] if longest else None
    return Verdict(standings, refused_by, longest * MICROSECOND, chosen, held, now, served, expired)


@lru_cache(maxsize=4)
def _refusals(gate: bool, user: bool) -> tuple[str, ...]:
    levels = TENANT_AND_USER if user else TENANT_AND_USER[:1]
    prefixes = ["user " if level is Level.USER else "" for level in levels]
    gates = [f"{prefix}{what}" for what in ("requests", "concurrent_runs") for prefix in prefixes]
    budgets = [budget.name for budget in budgets_of(_ANY_PLAN) if budget.level in levels]
    return (*(gates if gate else ()), *budgets, TOKENS_PER_RUN)


def _standings(
    tail: Sequence[int], plan: Plan, now: datetime, levels: Sequence[Level]
) -> tuple[Standing, ...]:
    """Of the tenant all that plans always had, of money and users what is limited."""
    many = len(levels)
    debts, slots, figures = tail[:many], tail[many : 2 * many], tail[2 * many :]
    _, ends = _calendar(now)
    found: list[Standing] = []
    for i, level in enumerate(levels):
        shape = _shape(plan, level)
        if shape.requests is not None:
            found.append(_requests(shape.requests, level, debts[i] * MICROSECOND, now))
        if shape.slots is not None:
            found.append(
                Standing("concurrent_runs", "", shape.slots, slots[i], 0, None, level=level)
            )
        for budget, place in shape.budgets:
            at = i * FIGURES + 4 * place
            found.append(_budget_standing(budget, figures[at : at + 4], ends[place]))
    return tuple(found)


class _Shape(NamedTuple):
    """What is told of one level: a rate with its limit, slots, budgets with their periods."""

    requests: tuple[int, Rate] | None
    slots: int | None
    budgets: tuple[tuple[Budget, int], ...]


@lru_cache(maxsize=4096)
def _shape(plan: Plan, level: Level) -> _Shape:
    tenant = level is Level.TENANT
    a_minute = plan.requests_per_minute if tenant else plan.user_requests_per_minute
    slots = slots_of(plan)[0 if tenant else 1]
    told = [
        (budget, list(Period).index(budget.period))
        for budget in budgets_of(plan)
        if budget.level is level
        and (budget.limit != UNLIMITED or (tenant and budget.meter == "tokens"))
    ]
    return _Shape(
        (a_minute, rate_of(plan, level)) if tenant or a_minute != UNLIMITED else None,
        slots if tenant or slots != UNLIMITED else None,
        tuple(told),
    )


def _requests(
    told: tuple[int, Rate], level: Level, until_full: timedelta, now: datetime
) -> Standing:
    limit, rate = told
    if rate.interval is None:
        return Standing("requests", "minute", UNLIMITED, 0, 0, None, level=level)
    used = -(-until_full // rate.interval)
    return Standing("requests", "minute", limit, used, 0, now + until_full, rate.burst, level)


def _budget_standing(budget: Budget, figures: Sequence[int], end: datetime) -> Standing:
    spent, held, cost, cost_held = figures
    used, kept = (spent, held) if budget.meter == "tokens" else (_minor(cost), _minor(cost_held))
    return Standing(budget.meter, budget.period, budget.limit, used, kept, end, level=budget.level)


def _minor(micros: int) -> int:
    return -(-micros // MICROS)


def _in_micros(budget: Budget) -> int:
    if budget.meter == "tokens" or budget.limit == UNLIMITED:
        return budget.limit
    return budget.limit * MICROS


_ANY_PLAN = Plan(plan_id="any")  # type: ignore[arg-type]  # its budgets have the same names


def _calendar(now: datetime) -> tuple[tuple[str, ...], tuple[datetime, ...]]:
    return _calendar_of_minute(now.replace(second=0, microsecond=0))


@lru_cache(maxsize=8)
def _calendar_of_minute(now: datetime) -> tuple[tuple[str, ...], tuple[datetime, ...]]:
    names = tuple(period_key(period, now) for period in Period)
    return names, tuple(period_end(period, now) for period in Period)


def _microseconds(duration: timedelta) -> int:
    return duration // MICROSECOND
