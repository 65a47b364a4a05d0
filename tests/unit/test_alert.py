"""When a budget is worth an alert, and what it is called by whoever notices it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy.alert import Alert, crossed
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import UNLIMITED
from tenancy.quota import Period, Standing, period_end

NOW = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
ACME, GLOBEX, ANN = TenantId("acme"), TenantId("globex"), SubjectId("ann")
DAY = Standing("tokens", Period.DAY, 1000, 0, 0, period_end(Period.DAY, NOW))
MONTH = Standing("money", Period.MONTH, 1000, 0, 0, period_end(Period.MONTH, NOW))


def thresholds(alerts: list[Alert]) -> list[int]:
    return [alert.threshold for alert in alerts]


@pytest.mark.parametrize(
    ("used", "told"),
    [(0, []), (799, []), (800, [80]), (999, [80]), (1000, [80, 100]), (5000, [80, 100])],
)
@pytest.mark.parametrize("budget", [DAY, MONTH], ids=["tokens", "money"])
def test_what_is_used_decides(budget: Standing, used: int, told: list[int]) -> None:
    assert thresholds(crossed([replace(budget, used=used)])) == told


@pytest.mark.parametrize(("used", "told"), [(0, [100]), (900, [80, 100]), (1000, [80, 100])])
def test_a_budget_that_refused_is_at_its_end(used: int, told: list[int]) -> None:
    standing = replace(DAY, used=used)
    assert thresholds(crossed([standing], "tokens per day")) == told
    assert thresholds(crossed([standing], "tokens_per_day")) == told
    for other in ("tokens per month", "user tokens per day", "money per day", "requests"):
        assert crossed([standing], other) == crossed([standing])


def test_what_is_held_is_not_used() -> None:
    assert crossed([replace(DAY, used=700, held=300)]) == []


@pytest.mark.parametrize(
    "standing",
    [
        replace(DAY, limit=UNLIMITED, used=10**9),
        replace(DAY, limit=0),
        replace(DAY, resets_at=None, used=1000),
        replace(DAY, level="run", period="run", used=1000),
        replace(DAY, level="run", used=1000),
        Standing("tokens", Period.MINUTE, 10, 10, 0, NOW),
        Standing("requests", "minute", 10, 10, 0, NOW, 5),
        Standing("concurrent_runs", "", 2, 2, 0, None),
    ],
    ids=str,
)
def test_what_is_no_budget_is_not_told(standing: Standing) -> None:
    assert crossed([standing], subject_id=ANN) == []


def test_a_budget_of_nothing_is_told_when_it_refuses() -> None:
    assert thresholds(crossed([replace(DAY, limit=0)], "tokens per day")) == [100]


def test_a_users_budget_names_the_user() -> None:
    standing = replace(DAY, level="user", used=1000)
    assert [alert.subject_id for alert in crossed([standing], subject_id=ANN)] == [ANN, ANN]
    assert thresholds(crossed([standing], "user tokens per day", ANN)) == [80, 100]
    assert crossed([standing]) == []
    [first, *_] = crossed([replace(DAY, used=1000)], subject_id=ANN)
    assert first.subject_id is None


@pytest.mark.parametrize(("budget", "key"), [(DAY, "20261231"), (MONTH, "202612")])
def test_the_period_is_the_one_that_ends(budget: Standing, key: str) -> None:
    [alert] = crossed([replace(budget, used=800)])
    assert (alert.period_key, alert.resets_at) == (key, datetime(2027, 1, 1, tzinfo=UTC))


def test_the_id_follows_from_what_is_told_and_not_from_how_much_was_used() -> None:
    [one], [two] = (crossed([replace(DAY, used=used)]) for used in (800, 850))
    assert one.alert_id(ACME) == two.alert_id(ACME)
    assert one.once() == two.once()
    others = [
        one,
        replace(one, threshold=100),
        replace(one, standing=replace(DAY, meter="money")),
        replace(one, resets_at=one.resets_at + timedelta(days=1)),
        replace(one, standing=replace(DAY, period=Period.MONTH)),
        replace(one, standing=replace(DAY, level="user"), subject_id=ANN),
        replace(one, standing=replace(DAY, level="user"), subject_id=SubjectId("bob")),
    ]
    ids = {other.alert_id(tenant_id) for other in others for tenant_id in (ACME, GLOBEX)}
    assert len(ids) == 2 * len(others)
    assert len({other.once() for other in others}) == len(others)


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_no_two_subjects_share_an_id(one: str, other: str) -> None:
    standing = replace(DAY, level="user", used=800)
    [first] = crossed([standing], subject_id=SubjectId(one))
    [second] = crossed([standing], subject_id=SubjectId(other))
    assert (first.alert_id(ACME) == second.alert_id(ACME)) == (one == other)
