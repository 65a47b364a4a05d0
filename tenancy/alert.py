"""Budgets that are used up, or nearly: what there is to tell, once a period."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from tenancy.ids import SubjectId, TenantId
from tenancy.quota import Period, Standing, period_key
from tenancy.usage import NAMESPACE

NEARLY, WHOLLY = 80, 100  # per cent of a budget
METERS = frozenset({"tokens", "money"})
PERIODS = frozenset({Period.DAY, Period.MONTH})  # a minute's is a pace: it would alert all day
TENANT, USER = "tenant", "user"  # a run's budget ends with the run: nobody could act on it
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Alert:
    """A budget that reached `threshold` per cent of its limit, or at 100 refused an admission."""

    threshold: int
    standing: Standing
    resets_at: datetime
    subject_id: SubjectId | None = None

    @property
    def limit_name(self) -> str:
        """What a refusal calls the limit."""
        return _name(self.standing)

    @property
    def period_key(self) -> str:
        """The name of the calendar period that the budget is for."""
        return period_key(Period(self.standing.period), self.resets_at - INSTANT)

    def once(self) -> tuple[object, ...]:
        """What a tenant is told once, however much is used by the time it is noticed."""
        budget = self.standing
        return (
            budget.level,
            self.subject_id,
            budget.meter,
            budget.period,
            self.resets_at,
            self.threshold,
        )

    def alert_id(self, tenant_id: TenantId) -> UUID:
        """The same for whoever notices it."""
        whose = f"{tenant_id}/{self.standing.level}/{self.subject_id or ''}"
        what = f"{self.standing.meter}/{self.period_key}/{self.threshold}"
        return uuid5(NAMESPACE, f"{whose}/{what}")


def crossed(
    standings: Iterable[Standing],
    refused_by: str | None = None,
    subject_id: SubjectId | None = None,
) -> list[Alert]:
    """The thresholds that budgets of tokens and money are beyond, by day and month.

    `refused_by` is what a verdict says, with blanks or underscores. What is held may be given
    back and does not count. Users' budgets need the `subject_id`.
    """
    refused = None if refused_by is None else refused_by.replace("_", " ")
    return [
        alert
        for standing in standings
        if standing.used * 100 >= standing.limit * NEARLY or refused is not None
        for alert in _alerts(standing, refused, subject_id)
    ]


def _alerts(
    standing: Standing, refused: str | None, subject_id: SubjectId | None
) -> Iterable[Alert]:
    whose = subject_id if standing.level == USER else None
    ends = standing.resets_at
    if ends is None or standing.limit < 0 or not _is_budget(standing):
        return
    if standing.level != TENANT and whose is None:
        return
    if _reached(standing, NEARLY):
        yield Alert(NEARLY, standing, ends, whose)
    if _reached(standing, WHOLLY) or refused == _name(standing):
        yield Alert(WHOLLY, standing, ends, whose)


def _is_budget(standing: Standing) -> bool:
    return standing.meter in METERS and standing.period in PERIODS


def _reached(standing: Standing, threshold: int) -> bool:
    """A budget of nothing is never reached, only refused by."""
    return 0 < standing.limit * threshold <= standing.used * 100


def _name(standing: Standing) -> str:
    """`tokens per day`, `user money per month`."""
    whose = "" if standing.level == TENANT else f"{standing.level} "
    return f"{whose}{standing.meter} per {standing.period}"
