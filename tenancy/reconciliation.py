"""Making the counters agree with the ledger: what is in it was used, whatever was counted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tenancy.ids import RunId, SubjectId
from tenancy.quota import Claim
from tenancy.usage import Meter, UsageEvent, usage_event_id

UNKNOWN_SUBJECT = SubjectId("unknown")


class CallState(StrEnum):
    """What became of a hold."""

    HELD = "held"
    CHARGED = "charged"  # it expired: taken as spent in full
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Balance:
    """What is counted in one period: tokens, and micro-units of money."""

    spent: int = 0
    held: int = 0
    cost: int = 0
    cost_held: int = 0

    def __add__(self, other: "Balance") -> "Balance":
        return Balance(*(a + b for a, b in zip(self.row(), other.row(), strict=True)))

    def __sub__(self, other: "Balance") -> "Balance":
        return Balance(*(a - b for a, b in zip(self.row(), other.row(), strict=True)))

    def row(self) -> tuple[int, int, int, int]:
        """The figures in the order in which the scripts keep them."""
        return self.spent, self.held, self.cost, self.cost_held


Balances = Mapping[str, Balance]  # by the name of the period


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One model call of a run, as the counters know it."""

    call: int
    state: CallState
    claim: Claim
    periods: tuple[str, ...]
    held_at: datetime

    def counted(self) -> Balance:
        """What it adds to each of its periods."""
        if self.state is CallState.HELD:
            return Balance(held=self.claim.tokens, cost_held=self.claim.micros)
        return Balance(spent=self.claim.tokens, cost=self.claim.micros)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run that the counters still remember."""

    run_id: RunId
    subject_id: SubjectId
    calls: tuple[CallRecord, ...]

    @property
    def is_open(self) -> bool:
        """Whether it still holds something: the ledger may have of it what is not settled yet."""
        return any(call.state is CallState.HELD for call in self.calls)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that is counted of a tenant and of those users, at one instant."""

    version: str  # changes with whatever is counted
    periods: tuple[str, ...]  # minute, day and month
    tenant: Balances
    users: Mapping[SubjectId, Balances]
    runs: tuple[RunRecord, ...]

    @property
    def open_runs(self) -> list[RunId]:
        """The runs of which the counters, not the ledger, say what they took."""
        return [run.run_id for run in self.runs if run.is_open]

    def expired(self) -> list[tuple[RunRecord, CallRecord]]:
        """The calls of dead runs whose holds were charged in full."""
        dead = [run for run in self.runs if not run.is_open]
        return [(run, c) for run in dead for c in run.calls if c.state is CallState.CHARGED]


def call_events(
    run_id: RunId, subject_id: SubjectId, call: int, took: Claim, at: datetime
) -> list[UsageEvent]:
    """One model call as the ledger takes it: prompt and answer, the cost with the first of them."""
    output = took.tokens - took.input_tokens
    amounts = ((Meter.INPUT_TOKENS, took.input_tokens), (Meter.OUTPUT_TOKENS, output))
    events, cost = [], took.micros
    for meter, quantity in amounts:
        if quantity:
            event_id = usage_event_id(run_id, meter, f"call/{call}")
            events.append(
                UsageEvent(event_id, meter, quantity, took.model, run_id, subject_id, at, cost)
            )
            cost = 0  # once
    return events


def estimates(snapshot: Snapshot) -> list[UsageEvent]:
    """What dead runs held, as the ledger takes it: an event that it has already stays as it is.

    Nobody can say any more what these calls took; never less than the provider counts.
    """
    return [
        event
        for run, call in snapshot.expired()
        for event in call_events(
            run.run_id, run.subject_id, call.call, call.claim, _booked_at(call)
        )
    ]


def _booked_at(call: CallRecord) -> datetime:
    """When it was held, within the periods it is counted in: clocks may differ."""
    minute = datetime.strptime(call.periods[0], "%Y%m%d%H%M").replace(tzinfo=UTC)
    return min(max(call.held_at, minute), minute + timedelta(seconds=59))


@dataclass(frozen=True, slots=True)
class Delta:
    """What to add to the figures of the tenant, or of one user, in one period."""

    subject_id: SubjectId | None
    period: str
    balance: Balance


@dataclass(frozen=True, slots=True)
class Correction:
    """What makes a snapshot agree with the ledger."""

    deltas: tuple[Delta, ...]
    ended: tuple[tuple[RunId, int], ...] = ()
    expected: Balances = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.deltas or self.ended)


Booked = Mapping[SubjectId, Sequence[Claim]]  # of minute, day and month, without open runs


def correction(snapshot: Snapshot, booked: Booked) -> Correction:
    """The counters as they should be: the ledger's figures, and what open runs have counted."""
    expected = _expected(snapshot, booked, None)
    deltas = list(_deltas(None, snapshot.tenant, expected))
    for subject_id, balances in snapshot.users.items():
        if balances:  # a user without counters is counted from the ledger when it must be
            wanted = _expected(snapshot, booked, subject_id)
            deltas += _deltas(subject_id, balances, wanted)
    ended = tuple((run.run_id, call.call) for run, call in snapshot.expired())
    return Correction(tuple(deltas), ended, expected)


def _expected(
    snapshot: Snapshot, booked: Booked, subject_id: SubjectId | None
) -> dict[str, Balance]:
    balances = dict.fromkeys(snapshot.periods, Balance())
    for who, claims in booked.items():
        if subject_id in (None, who):
            for period, claim in zip(snapshot.periods, claims, strict=True):
                balances[period] += Balance(spent=claim.tokens, cost=claim.micros)
    for run in snapshot.runs:
        if run.is_open and subject_id in (None, run.subject_id):
            _count(run.calls, balances)
    return balances


def _count(calls: Iterable[CallRecord], balances: dict[str, Balance]) -> None:
    for call in calls:
        for period in call.periods:
            if period in balances:
                balances[period] += call.counted()


def _deltas(subject_id: SubjectId | None, counted: Balances, expected: Balances) -> Iterable[Delta]:
    for period, balance in expected.items():
        off = balance - counted.get(period, Balance())
        if any(off.row()):
            yield Delta(subject_id, period, off)
