"""What one process admits while the counters are away: no more than is published, some always."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenancy import local_accounts, local_limits
from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.local_limits import LocalLimits
from tenancy.local_share import LOCAL_FRACTION, MOST_RUNS
from tenancy.plan import FREE, UNLIMITED, Plan
from tenancy.price import MICROS
from tenancy.quota import Claim, Period, Verdict, period_end, period_key

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
ALICE, BOB = SubjectId("alice"), SubjectId("bob")
START = datetime(2026, 3, 31, 23, 58, 30, tzinfo=UTC)  # day and month end soon
NUMBERS = count(1)
OPEN = replace(
    FREE,
    requests_per_minute=UNLIMITED,
    concurrent_runs=UNLIMITED,
    tokens_per_minute=UNLIMITED,
    tokens_per_day=UNLIMITED,
    tokens_per_month=UNLIMITED,
)


def new_run() -> RunId:
    return RunId(UUID(int=next(NUMBERS)))


class Outage:
    """Local limits of one replica, with a clock to turn."""

    def __init__(self, replicas: int = 1, spent: Sequence[Claim] = local_limits.UNKNOWN) -> None:
        self.now = START
        self.spent = spent
        self.limits = LocalLimits(replicas)

    def begin(self, subject_id: SubjectId | None) -> None:
        self.limits.begin(ACME, None, self.now, self.spent)
        if subject_id is not None:
            self.limits.begin(ACME, subject_id, self.now, self.spent)

    def admit(
        self,
        plan: Plan,
        *offers: Claim,
        run_id: RunId | None = None,
        subject_id: SubjectId | None = None,
    ) -> Verdict:
        self.begin(subject_id)
        run_id, offers = run_id or new_run(), offers or (Claim(0),)
        return self.limits.admit(
            ACME, plan, self.now, run_id=run_id, subject_id=subject_id, offers=offers
        )

    def reserve(self, plan: Plan, run_id: RunId, call: int, *offers: Claim) -> Verdict:
        self.begin(None)
        return self.limits.reserve(
            ACME, plan, self.now, run_id=run_id, subject_id=None, call=call, offers=offers
        )

    def settle(self, run_id: RunId, call: int, actual: Claim) -> bool:
        self.begin(None)
        return self.limits.settle(
            ACME, self.now, run_id=run_id, subject_id=None, call=call, actual=actual
        )

    def renew(self, run_id: RunId, holds: dict[int, Claim]) -> None:
        self.begin(None)
        self.limits.renew(ACME, self.now, run_id=run_id, subject_id=None, holds=holds)

    def figures(self, plan: Plan) -> list[tuple[int, int, int]]:
        standings = self.limits.standings(ACME, plan, self.now)
        return [(s.limit, s.used, s.held) for s in standings[2:]]


# -- requests and runs


def test_a_client_that_waits_as_long_as_it_is_told_gets_a_quarter_of_the_rate() -> None:
    outage, plan = Outage(replicas=2), replace(OPEN, requests_per_minute=60, burst=16)
    assert [outage.admit(plan).admitted for _ in range(3)] == [True, True, False]
    for _ in range(5):
        verdict = outage.admit(plan)
        assert (verdict.refused_by, verdict.retry_after) == ("requests", timedelta(seconds=8))
        outage.now += verdict.retry_after - timedelta(microseconds=1)
        assert not outage.admit(plan).admitted
        outage.now += timedelta(microseconds=1)
        assert outage.admit(plan).admitted


def test_a_burst_is_one_request_at_least_and_none_where_the_plan_has_none() -> None:
    assert Outage(replicas=9).admit(replace(OPEN, requests_per_minute=20, burst=1)).admitted
    assert not Outage().admit(replace(OPEN, requests_per_minute=0)).admitted


@pytest.mark.parametrize(
    ("runs", "replicas", "admitted"), [(16, 2, 2), (2, 3, 1), (0, 1, 0), (UNLIMITED, 2, MOST_RUNS)]
)
def test_a_quarter_of_the_runs_go_on_at_once(runs: int, replicas: int, admitted: int) -> None:
    outage, plan = Outage(replicas), replace(OPEN, concurrent_runs=runs)
    first = new_run()
    verdicts = [outage.admit(plan, run_id=first)] + [outage.admit(plan) for _ in range(80)]
    assert sum(verdict.admitted for verdict in verdicts) == admitted
    assert verdicts[-1].refused_by == "concurrent_runs"
    assert verdicts[-1].retry_after == timedelta(seconds=1)
    outage.limits.release(ACME, first)
    assert outage.admit(plan).admitted == bool(admitted)


def test_each_user_has_a_share_of_its_own() -> None:
    outage, plan = Outage(), replace(OPEN, user_concurrent_runs=4, user_tokens_per_day=400)
    assert outage.admit(plan, Claim(60), subject_id=ALICE).admitted
    assert outage.admit(plan, Claim(40), subject_id=BOB).admitted
    assert outage.admit(plan, subject_id=ALICE).refused_by == "user concurrent_runs"
    levels = {
        (s.level, s.meter, s.limit, s.held)
        for s in outage.limits.standings(ACME, plan, outage.now, ALICE)
    }
    assert ("user", "tokens", 400, 60) in levels


# -- budgets


@pytest.mark.parametrize(
    ("meter", "period"),
    [*(("tokens", period) for period in Period), ("money", Period.DAY), ("money", Period.MONTH)],
)
def test_a_budget_gives_a_quarter_shared_by_the_replicas(meter: str, period: Period) -> None:
    unit = MICROS if meter == "money" else 1
    plan = replace(OPEN, **{f"{meter}_per_{period}": 800})
    outage = Outage(replicas=2)

    def claim(amount: int) -> Claim:
        return Claim(amount) if meter == "tokens" else Claim(1, amount * unit)

    for _ in range(4):
        run = new_run()
        assert outage.admit(plan, claim(25), run_id=run).admitted
        assert outage.settle(run, 0, claim(25))
        outage.limits.release(ACME, run)
    if period is Period.MINUTE:
        verdict = outage.admit(plan, claim(1))
        assert verdict.refused_by == f"{meter} per {period}"
        assert verdict.retry_after == period_end(period, outage.now) - outage.now
        outage.now += verdict.retry_after
        assert outage.admit(plan, claim(100)).admitted
    else:
        with pytest.raises(Unavailable, match=f"{meter} per {period}"):
            outage.admit(plan, claim(1))


def test_one_call_may_take_more_than_the_fraction_but_not_more_than_is_left() -> None:
    plan = replace(OPEN, tokens_per_day=800)
    outage = Outage(2, [Claim(0), Claim(600), Claim(600)])
    with pytest.raises(Unavailable):
        outage.admit(plan, Claim(101))
    run = new_run()
    assert outage.admit(plan, Claim(100), run_id=run).admitted
    assert outage.settle(run, 0, Claim(100))
    with pytest.raises(Unavailable):
        outage.admit(plan, Claim(1))


def test_a_budget_that_the_ledger_says_is_spent_is_the_tenants_own_limit() -> None:
    plan, outage = replace(OPEN, tokens_per_day=800), Outage(1, [Claim(0), Claim(800), Claim(800)])
    verdict = outage.admit(plan, Claim(1))
    assert verdict.refused_by == "tokens per day"
    assert verdict.retry_after == period_end(Period.DAY, outage.now) - outage.now
    outage.now += verdict.retry_after
    assert outage.admit(plan, Claim(200)).admitted


def test_a_call_too_large_for_any_minutes_share_is_ours_to_refuse() -> None:
    plan, outage = replace(OPEN, tokens_per_minute=800), Outage(2)
    with pytest.raises(Unavailable):
        outage.admit(plan, Claim(401))
    assert outage.admit(plan, Claim(801)).refused_by == "tokens per minute"


def test_of_the_offers_the_first_that_fits_is_held() -> None:
    plan, outage = replace(OPEN, tokens_per_day=800), Outage()
    assert outage.admit(plan, Claim(10)).admitted
    verdict = outage.admit(plan, Claim(900), Claim(191), Claim(190, model="small"), Claim(1))
    assert (verdict.chosen, verdict.held) == (2, Claim(190, model="small"))
    assert outage.figures(plan)[1] == (800, 0, 200)


def test_when_only_holds_are_in_the_way_the_wait_is_short() -> None:
    plan, outage = replace(OPEN, tokens_per_day=800), Outage()
    outage.admit(plan, Claim(150))
    assert outage.admit(plan, Claim(60)).retry_after == timedelta(seconds=2)


def test_a_run_has_its_own_budget_whole() -> None:
    plan, outage, run = replace(OPEN, tokens_per_run=100), Outage(4), new_run()
    assert outage.admit(plan, Claim(60), run_id=run).admitted
    assert outage.settle(run, 0, Claim(50))
    refused = outage.reserve(plan, run, 1, Claim(51))
    assert refused.refused_by == "tokens per run"
    assert outage.reserve(plan, run, 1, Claim(51), Claim(50)).chosen == 1


def test_a_budget_that_ends_within_a_run_stops_it_and_does_not_break_it() -> None:
    plan, outage, run = replace(OPEN, tokens_per_day=800), Outage(), new_run()
    outage.admit(plan, Claim(150), run_id=run)
    outage.settle(run, 0, Claim(150))
    assert outage.reserve(plan, run, 1, Claim(51)).refused_by == ("share of tokens per day")


# -- once, all or nothing, and given back


def test_a_refusal_counts_nothing() -> None:
    plan = replace(OPEN, requests_per_minute=60, burst=8, concurrent_runs=4, tokens_per_day=800)
    outage = Outage()
    outage.admit(plan, Claim(100))
    before = outage.limits.standings(ACME, plan, outage.now)
    for offer in (Claim(0), Claim(101)):
        assert not outage.admit(plan, offer).admitted
    assert outage.limits.standings(ACME, plan, outage.now) == before


def test_asked_again_for_a_run_it_charges_nothing_more() -> None:
    plan, outage, run = replace(OPEN, requests_per_minute=60, burst=4), Outage(), new_run()
    first = outage.admit(plan, Claim(70), run_id=run)
    again = outage.admit(plan, Claim(90), run_id=run)
    assert (again.admitted, again.held, again.standings) == (True, Claim(70), first.standings)
    outage.limits.release(ACME, run)
    assert outage.admit(plan, Claim(90), run_id=run).admitted
    assert outage.figures(plan)[0] == (UNLIMITED, 0, 0)


def test_a_settle_counts_once_and_a_release_gives_back_the_rest() -> None:
    plan, outage, run = OPEN, Outage(), new_run()
    outage.admit(plan, Claim(70), run_id=run)
    outage.reserve(plan, run, 1, Claim(30))
    assert outage.figures(plan)[0] == (UNLIMITED, 0, 100)
    assert outage.settle(run, 0, Claim(60))
    assert not outage.settle(run, 0, Claim(60))
    assert outage.figures(plan)[0] == (UNLIMITED, 60, 30)
    for _ in range(2):
        outage.limits.release(ACME, run)
        assert outage.figures(plan)[0] == (UNLIMITED, 60, 0)


def test_a_run_from_before_the_outage_has_its_slot_and_what_it_held_counts_as_spent() -> None:
    plan = replace(OPEN, concurrent_runs=4, tokens_per_day=800)
    outage, run = Outage(), new_run()
    outage.renew(run, {2: Claim(700)})
    outage.renew(run, {2: Claim(700)})
    assert outage.admit(plan).refused_by == "concurrent_runs"
    assert outage.figures(plan)[1] == (800, 700, 0)
    assert outage.settle(run, 2, Claim(650))
    assert outage.figures(plan)[1] == (800, 650, 0)
    assert outage.settle(run, 3, Claim(50))
    outage.limits.release(ACME, run)
    assert outage.figures(plan)[1] == (800, 700, 0)
    assert outage.admit(plan, Claim(100)).admitted


# -- bounds


def test_tenants_beyond_the_most_are_refused_and_the_counted_ones_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_limits, "MOST_TENANTS", 1)
    outage = Outage()
    assert outage.admit(OPEN).admitted
    with pytest.raises(Unavailable):
        outage.limits.begin(GLOBEX, None, START)
    assert outage.admit(OPEN).admitted


def test_users_beyond_the_most_share_one_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_accounts, "MOST_USERS", 1)
    outage, plan = Outage(), replace(OPEN, user_tokens_per_day=400)
    assert outage.admit(plan, Claim(100), subject_id=ALICE).admitted
    assert outage.admit(plan, Claim(100), subject_id=BOB).admitted
    assert not outage.admit(plan, Claim(90), subject_id=SubjectId("carol")).admitted


def test_ended_runs_and_past_minutes_do_not_pile_up() -> None:
    outage = Outage()
    for _ in range(300):
        run = new_run()
        assert outage.admit(OPEN, Claim(1), run_id=run).admitted
        outage.settle(run, 0, Claim(1))
        outage.limits.release(ACME, run)
        outage.now += timedelta(minutes=7)
    tenant = outage.limits._tenants[ACME]
    assert len(tenant.runs) <= local_accounts.ENDED_RUNS
    assert len(tenant.account.spent) <= local_accounts.KEPT_FIGURES + 6
    month = period_key(Period.MONTH, outage.now)
    assert tenant.account.spent["tokens", month] == outage.figures(OPEN)[2][1] > 200


# -- any outage

amounts = st.integers(1, 900)
limit = st.one_of(st.just(UNLIMITED), st.integers(0, 4000))
step = st.one_of(
    st.tuples(st.just("admit"), st.integers(0, 3), amounts, amounts),
    st.tuples(st.just("admit"), st.integers(0, 3), amounts, amounts),
    st.tuples(st.just("reserve"), st.integers(0, 3), amounts, amounts),
    st.tuples(st.just("settle"), st.integers(0, 3), st.integers(0, 100), amounts),
    st.tuples(st.just("release"), st.integers(0, 3), amounts, amounts),
    st.tuples(st.just("sleep"), st.integers(0, 40), amounts, amounts),
)


class Campaign:
    """Some replicas in the same outage, and what they gave out."""

    def __init__(self, replicas: int, plan: Plan, spent: Sequence[Claim]) -> None:
        self.plan = plan
        self.spent = {
            (period, period_key(period, START)): claim.tokens
            for period, claim in zip(Period, spent, strict=True)
        }
        self.replicas = [Outage(replicas, spent) for _ in range(replicas)]
        for replica in self.replicas:
            replica.begin(None)
        self.open: list[tuple[Outage, RunId, dict[int, Claim]]] = []
        self.given: Counter[tuple[Period, str]] = Counter()
        self.largest = 0

    def take(self, kind: str, at: int, first: int, second: int) -> None:
        replica = self.replicas[at % len(self.replicas)]
        match kind:
            case "admit":
                self._admit(replica, first, second)
            case "sleep":
                for each in self.replicas:
                    each.now += timedelta(seconds=at)
            case _ if self.open:
                getattr(self, f"_{kind}")(self.open[at % len(self.open)], first)

    def _admit(self, replica: Outage, first: int, second: int) -> None:
        run = new_run()
        try:
            verdict = replica.admit(self.plan, Claim(first), Claim(second), run_id=run)
        except Unavailable:
            return
        if verdict.admitted:
            self.open.append((replica, run, {0: verdict.held}))

    def _reserve(self, run: tuple[Outage, RunId, dict[int, Claim]], amount: int) -> None:
        replica, run_id, calls = run
        call = len(calls)
        verdict = replica.reserve(self.plan, run_id, call, Claim(amount))
        if verdict.admitted:
            calls[call] = verdict.held

    def _settle(self, run: tuple[Outage, RunId, dict[int, Claim]], part: int) -> None:
        replica, run_id, calls = run
        for call, held in calls.items():
            replica.settle(run_id, call, Claim(held.tokens * min(part, 100) // 100))

    def _release(self, run: tuple[Outage, RunId, dict[int, Claim]], _: int) -> None:
        replica, run_id, _ = run
        replica.limits.release(ACME, run_id)
        self.open.remove(run)

    def check(self) -> None:
        """All replicas together stay within what `tenancy.local_share` publishes."""
        for period, limit in (
            (Period.MINUTE, self.plan.tokens_per_minute),
            (Period.DAY, self.plan.tokens_per_day),
            (Period.MONTH, self.plan.tokens_per_month),
        ):
            if limit == UNLIMITED:
                continue
            name = period_key(period, self.replicas[0].now)
            left = max(0, limit - self.spent.get((period, name), 0))
            taken = [r.limits._tenants[ACME].account.taken(("tokens", name)) for r in self.replicas]
            fraction = int(limit * LOCAL_FRACTION)
            single = [r for r in taken if r > min(fraction, left) // len(taken)]
            assert sum(taken) <= left
            assert sum(taken) - sum(single) <= fraction
            assert all(amount <= left // len(taken) for amount in single)


@given(
    replicas=st.integers(1, 4),
    limits=st.tuples(limit, limit, limit),
    spent=st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(0, 900)),
    steps=st.lists(step, max_size=40),
)
def test_all_replicas_together_give_no_more_than_is_published(
    replicas: int, limits: tuple[int, int, int], spent: tuple[int, int, int], steps: list
) -> None:
    fields = dict(zip((f"tokens_per_{period}" for period in Period), limits, strict=True))
    campaign = Campaign(replicas, replace(OPEN, **fields), [Claim(amount) for amount in spent])
    for each in steps:
        campaign.take(*each)
        campaign.check()


@given(
    replicas=st.integers(1, 8),
    limit=st.integers(1, 100_000),
    spent=st.integers(0, 100_000),
    asked=st.integers(1, 100_000),
)
def test_a_tenant_with_budget_left_is_never_given_nothing(
    replicas: int, limit: int, spent: int, asked: int
) -> None:
    plan = replace(FREE, **{f"tokens_per_{period}": limit for period in Period})
    left = max(0, limit - spent) // replicas
    outage = Outage(replicas, [Claim(spent)] * 3)
    if asked <= left:
        assert outage.admit(plan, Claim(asked)).admitted
    elif asked <= limit - spent:
        with pytest.raises(Unavailable):
            outage.admit(plan, Claim(asked))
    else:
        assert outage.admit(plan, Claim(asked)).refused_by
