"""What makes the counters agree with the ledger, and what the ledger is told of dead runs."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tenancy.ids import RunId, SubjectId
from tenancy.quota import Claim
from tenancy.reconciliation import (
    Balance,
    CallRecord,
    CallState,
    Delta,
    RunRecord,
    Snapshot,
    correction,
    estimates,
)
from tenancy.usage import Meter, usage_event_id

NOW = datetime(2026, 11, 23, 12, 0, 10, tzinfo=UTC)
PERIODS = ("202611231200", "20261123", "202611")
ANN, BOB = SubjectId("ann"), SubjectId("bob")
RUN = RunId(UUID(int=1))


def call(state: CallState, tokens: int, number: int = 0, micros: int = 0) -> CallRecord:
    return CallRecord(number, state, Claim(tokens, micros, tokens // 2, "m"), PERIODS, NOW)


def snapshot(*runs: RunRecord, spent: int = 0, held: int = 0) -> Snapshot:
    figures = dict.fromkeys(PERIODS, Balance(spent, held))
    return Snapshot("1", PERIODS, figures, {ANN: figures}, runs)


def test_what_agrees_needs_no_correction() -> None:
    assert not correction(snapshot(spent=30), {ANN: [Claim(30)] * 3})


def test_the_ledger_is_right() -> None:
    found = correction(snapshot(spent=30, held=5), {ANN: [Claim(7), Claim(40), Claim(50)]})
    off = [Balance(-23, -5), Balance(10, -5), Balance(20, -5)]
    wanted = [Delta(w, p, b) for w in (None, ANN) for p, b in zip(PERIODS, off, strict=True)]
    assert list(found.deltas) == wanted


def test_of_an_open_run_the_counters_are_right() -> None:
    run = RunRecord(RUN, ANN, (call(CallState.SETTLED, 10), call(CallState.HELD, 20, 1)))
    found = snapshot(run, spent=10, held=20)
    assert found.open_runs == [RUN]
    assert not correction(found, {})


def test_what_was_held_in_a_past_minute_counts_in_its_day() -> None:
    late = CallRecord(0, CallState.HELD, Claim(9), ("202611231159", *PERIODS[1:]), NOW)
    found = correction(snapshot(RunRecord(RUN, ANN, (late,))), {})
    assert [b.held for b in found.expected.values()] == [0, 9, 9]


def test_a_dead_run_is_booked_as_it_was_held_and_ended() -> None:
    dead = snapshot(RunRecord(RUN, ANN, (call(CallState.CHARGED, 20, 3, micros=7),)), spent=20)
    events = estimates(dead)
    assert [(e.meter, e.quantity, e.cost) for e in events] == [
        (Meter.INPUT_TOKENS, 10, 7),
        (Meter.OUTPUT_TOKENS, 10, 0),
    ]
    assert events[0].event_id == usage_event_id(RUN, Meter.INPUT_TOKENS, "call/3")
    found = correction(dead, {ANN: [Claim(20, 7)] * 3})
    assert found.ended == ((RUN, 3),)
    assert {delta.balance for delta in found.deltas} == {Balance(cost=7)}


def test_an_estimate_falls_into_the_minute_it_is_counted_in() -> None:
    for off in (-90, 0, 90):
        at = NOW + timedelta(seconds=off)
        held = CallRecord(0, CallState.CHARGED, Claim(2, 0, 1), PERIODS, at)
        [event, _] = estimates(snapshot(RunRecord(RUN, ANN, (held,))))
        assert event.created_at.replace(second=0) == NOW.replace(second=0)


states = st.sampled_from(CallState)
calls = st.builds(call, states, st.integers(0, 99), st.integers(0, 5), st.integers(0, 9))
runs = st.builds(
    RunRecord,
    st.uuids().map(RunId),
    st.sampled_from([ANN, BOB]),
    st.lists(calls, max_size=3).map(tuple),
)
claims = st.lists(st.builds(Claim, st.integers(0, 99), st.integers(0, 9)), min_size=3, max_size=3)
balances = st.builds(
    Balance, st.integers(0, 99), st.integers(0, 99), st.integers(0, 9), st.integers(0, 9)
)
figures = st.fixed_dictionaries(dict.fromkeys(PERIODS, balances))


@given(
    st.builds(
        Snapshot,
        st.just("1"),
        st.just(PERIODS),
        figures,
        st.fixed_dictionaries({ANN: figures, BOB: figures}),
        st.lists(runs, max_size=4).map(tuple),
    ),
    st.fixed_dictionaries({}, optional={ANN: claims, BOB: claims}),
)
def test_a_correction_leaves_nothing_to_correct(before: Snapshot, booked: dict) -> None:
    found = correction(before, booked)

    def mended(who: SubjectId | None, was: dict) -> dict:
        more = {d.period: d.balance for d in found.deltas if d.subject_id == who}
        return {period: was[period] + more.get(period, Balance()) for period in PERIODS}

    ended = [run for run in before.runs if run.is_open]
    after = Snapshot(
        "2",
        PERIODS,
        mended(None, dict(before.tenant)),
        {who: mended(who, dict(was)) for who, was in before.users.items()},
        tuple(ended),
    )
    assert not correction(after, booked)
    assert all(figure >= 0 for balance in after.tenant.values() for figure in balance.row())
