"""The arithmetic of limits: periods, rates, budgets and what a client is told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.plan import FREE, PRO
from tenancy.quota import (
    Level,
    Period,
    Rate,
    Standing,
    Verdict,
    budgets_of,
    limits_users,
    period_end,
    period_key,
    period_start,
    rate_limit_headers,
    rate_of,
    token_bound,
    whole_seconds,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
instants = st.datetimes(
    min_value=datetime(2000, 1, 1),  # hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # as above
    timezones=st.just(UTC),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "now", "end"),
    [
        (Period.MINUTE, "2026-11-23T14:05:59.999999", "2026-11-23T14:06:00"),
        (Period.MINUTE, "2026-11-23T14:05:00", "2026-11-23T14:06:00"),
        (Period.MINUTE, "2026-12-31T23:59:30", "2027-01-01T00:00:00"),
        (Period.DAY, "2026-11-23T00:00:00", "2026-11-24T00:00:00"),
        (Period.DAY, "2028-02-28T12:00:00", "2028-02-29T00:00:00"),
        (Period.DAY, "2026-02-28T12:00:00", "2026-03-01T00:00:00"),
        (Period.MONTH, "2026-01-31T23:59:59", "2026-02-01T00:00:00"),
        (Period.MONTH, "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
        (Period.MONTH, "2028-02-29T23:00:00", "2028-03-01T00:00:00"),
        (Period.MONTH, "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_a_period_ends_where_the_calendar_says(period: Period, now: str, end: str) -> None:
    assert period_end(period, at(now)) == at(end)


@pytest.mark.parametrize("period", Period)
@given(now=instants)
def test_a_period_starts_when_the_one_before_ends(period: Period, now: datetime) -> None:
    start = period_start(period, now)
    assert start <= now
    assert period_end(period, start - timedelta(microseconds=1)) == start


@pytest.mark.parametrize("period", Period)
@given(now=instants)
def test_a_period_ends_when_its_key_changes(period: Period, now: datetime) -> None:
    end = period_end(period, now)
    assert now < end
    assert period_key(period, end - timedelta(microseconds=1)) == period_key(period, now)
    assert period_key(period, end) > period_key(period, now)


def test_periods_are_utc_whatever_the_zone_and_its_clock_changes() -> None:
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    before = datetime(2026, 10, 25, 2, 30, tzinfo=summer)
    after = datetime(2026, 10, 25, 2, 30, tzinfo=winter)
    assert period_key(Period.MINUTE, before) == "202610250030"
    assert period_key(Period.MINUTE, after) == "202610250130"
    assert period_end(Period.DAY, before) == period_end(Period.DAY, after) == at("2026-10-26")
    assert period_key(Period.MONTH, datetime(2026, 11, 1, 0, 30, tzinfo=winter)) == "202610"


def test_period_keys_of_different_periods_differ() -> None:
    assert [period_key(period, NOON) for period in Period] == ["202611231200", "20261123", "202611"]


def test_a_plan_has_budgets_of_tokens_and_money_for_tenant_and_user() -> None:
    plan = replace(FREE, money_per_day=500, user_tokens_per_day=7, user_money_per_month=9)
    limited = {budget.name: budget.limit for budget in budgets_of(plan) if budget.limit >= 0}
    assert limited == {
        "tokens per minute": 20_000,
        "tokens per day": 100_000,
        "tokens per month": 1_000_000,
        "money per day": 500,
        "user tokens per day": 7,
        "user money per month": 9,
    }
    assert [b.period for b in budgets_of(plan)] == list(Period) * 4


def test_users_are_limited_where_one_of_their_budgets_is() -> None:
    assert not limits_users(replace(FREE, user_requests_per_minute=5))
    assert limits_users(replace(FREE, user_money_per_day=5))


def test_a_user_has_a_rate_of_its_own() -> None:
    plan = replace(FREE, user_requests_per_minute=60, user_burst=2)
    assert rate_of(plan, Level.USER) == Rate(timedelta(seconds=1), 2)
    assert rate_of(FREE, Level.USER).interval is None


def test_a_rate_gives_a_place_back_every_minute_over_the_rate() -> None:
    assert rate_of(FREE).interval == timedelta(seconds=3)
    assert rate_of(FREE).burst == 5
    assert rate_of(PRO).interval == timedelta(milliseconds=200)


@given(requests_per_minute=st.integers(1, 10**15))
def test_a_rate_is_never_faster_than_the_plan(requests_per_minute: int) -> None:
    interval = rate_of(replace(FREE, requests_per_minute=requests_per_minute)).interval
    assert interval is not None
    assert interval * requests_per_minute >= timedelta(minutes=1)


def test_an_unlimited_rate_has_no_interval_and_a_rate_of_none_no_room() -> None:
    assert rate_of(replace(FREE, requests_per_minute=-1)).interval is None
    assert rate_of(replace(FREE, requests_per_minute=0)).burst == 0


def test_what_remains_of_requests_counts_down_from_the_burst() -> None:
    assert Standing("requests", "minute", 20, 2, 0, NOON, 5).remaining == 3
    assert Standing("requests", "minute", 20, 6, 0, NOON, 5).remaining == 0
    assert Standing("tokens", "day", 100, 30, 20, NOON).remaining == 50
    assert Standing("tokens", "day", 100, 130, 0, NOON).remaining == 0


def test_headers_name_limited_meters_and_leave_out_unlimited_ones() -> None:
    standings = (
        Standing("requests", "minute", 20, 2, 0, NOON + timedelta(seconds=5.2), 5),
        Standing("concurrent_runs", "", 2, 1, 0, None),
        Standing("tokens", "minute", -1, 7, 0, NOON),
        Standing("tokens", "day", 100, 30, 20, NOON + timedelta(hours=12)),
    )
    assert rate_limit_headers(standings, NOON) == {
        "RateLimit": '"requests-minute";r=3;t=6, "concurrent_runs";r=1, "tokens-day";r=50;t=43200',
        "RateLimit-Policy": (
            '"requests-minute";q=20;w=60, "concurrent_runs";q=2, "tokens-day";q=100;w=86400'
        ),
    }


def test_no_limits_make_no_headers() -> None:
    assert rate_limit_headers((Standing("tokens", "day", -1, 3, 0, NOON),), NOON) == {}


def test_a_verdict_is_admitted_unless_something_refused_it() -> None:
    assert Verdict(()).admitted
    assert not Verdict((), "requests", timedelta(seconds=1)).admitted


@pytest.mark.parametrize(
    ("microseconds", "seconds"),
    [(-5_000_000, 0), (0, 0), (1, 1), (999_999, 1), (1_000_000, 1), (1_000_001, 2)],
)
def test_seconds_for_a_header_are_rounded_up(microseconds: int, seconds: int) -> None:
    assert whole_seconds(timedelta(microseconds=microseconds)) == seconds


@given(st.text())
def test_a_text_never_has_more_tokens_than_bytes(text: str) -> None:
    assert token_bound(text) >= len(text)
