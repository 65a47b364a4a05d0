"""What one process admits of its tenants' limits while the counters are away: one outage."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.local_accounts import (
    NO_CLAIM,
    Account,
    Hold,
    LocalRun,
    LocalTenant,
    booked,
    periods_at,
)
from tenancy.local_decision import Decision, Wait, longest
from tenancy.plan import Plan
from tenancy.quota import Claim, Period, Standing, Verdict

MOST_TENANTS = 10_000  # of one process; each costs seven kilobytes
UNKNOWN = (NO_CLAIM,) * len(Period)


class LocalLimits:
    """Admits runs and holds tokens and money, for one outage, in this process alone.

    Time is passed in. `tenancy.local_share` says what is given. A tenant, and a user whom the plan
    limits, must be begun with what the ledger knows of them before anything else is asked about
    them. A run that goes on from before the outage is adopted; what it held counts as spent before.
    """

    def __init__(self, replicas: int) -> None:
        self._replicas = max(1, replicas)
        self._tenants: dict[TenantId, LocalTenant] = {}

    def begin(
        self,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        now: datetime,
        spent: Sequence[Claim] = UNKNOWN,
    ) -> None:
        """Count a tenant, or a user of one that is counted, to whom `spent` was charged before.

        `spent` is of minute, day and month of `now`. Raises `Unavailable` for more tenants than
        can be counted.
        """
        if self.knows(tenant_id, subject_id):
            return
        if subject_id is not None:
            self._tenants[tenant_id].begin_user(subject_id, booked(spent, now))
        elif len(self._tenants) < MOST_TENANTS:
            self._tenants[tenant_id] = LocalTenant(Account(booked(spent, now)))
        else:
            raise Unavailable

    def knows(self, tenant_id: TenantId, subject_id: SubjectId | None = None) -> bool:
        """Whether the tenant, or its user, has been begun."""
        tenant = self._tenants.get(tenant_id)
        return tenant is not None and (subject_id is None or tenant.user(subject_id) is not None)

    def admit(
        self,
        tenant_id: TenantId,
        plan: Plan,
        now: datetime,
        *,
        run_id: RunId,
        subject_id: SubjectId | None,
        offers: Sequence[Claim],
    ) -> Verdict:
        """Take a request, a slot and the first of `offers` that fits for call 0; or nothing.

        Once per run. Raises `Unavailable` where the plan has room and only our share has none.
        """
        tenant = self._tenants[tenant_id]
        run = tenant.runs.get(run_id) or LocalRun(tenant.accounts(subject_id))
        asked = Decision(run.accounts, plan, now, self._replicas)
        hold, chosen = run.calls.get(0) or Hold(periods_at(now)), run.chosen
        waits = asked.gate_waits(run, [run_id in account.running for _, account in run.accounts])
        if not run.admitted:
            chosen, budget_waits = asked.choose(run, hold, offers)
            waits += budget_waits
        if waits:
            return _refused_unless_ours(asked, waits)
        tenant.runs[run_id] = run
        run.take_slot(run_id)
        if not run.admitted:
            asked.spend_request()
            run.hold(0, hold, offers[chosen])
        run.admitted, run.chosen = True, chosen
        return Verdict(asked.standings(), chosen=chosen, held=hold.claim, held_at=now)

    def reserve(
        self,
        tenant_id: TenantId,
        plan: Plan,
        now: datetime,
        *,
        run_id: RunId,
        subject_id: SubjectId | None,
        call: int,
        offers: Sequence[Claim],
    ) -> Verdict:
        """See to it that one model call holds the first of `offers` that fits, at least."""
        run = self._tenants[tenant_id].run(run_id, subject_id)
        run.take_slot(run_id)
        asked = Decision(run.accounts, plan, now, self._replicas)
        hold = run.calls.get(call) or Hold(periods_at(now))
        chosen, waits = asked.choose(run, hold, offers)
        if waits:
            return _refused(asked, waits)
        run.hold(call, hold, offers[chosen])
        return Verdict(asked.standings(), chosen=chosen, held=hold.claim, held_at=now)

    def settle(
        self,
        tenant_id: TenantId,
        now: datetime,
        *,
        run_id: RunId,
        subject_id: SubjectId | None,
        call: int,
        actual: Claim,
    ) -> bool:
        """Charge what a call took in the place of its hold; False if that was done before."""
        run = self._tenants[tenant_id].run(run_id, subject_id)
        hold = run.calls.get(call)
        if hold is None and run.adopted:
            hold = run.inherit(call, periods_at(now), actual)
        hold = run.calls.setdefault(call, hold or Hold(periods_at(now)))
        if hold.settled:
            return False
        run.settle(hold, actual)
        return True

    def release(self, tenant_id: TenantId, run_id: RunId) -> None:
        """Free the run's slot and give back every hold that is not settled."""
        tenant = self._tenants[tenant_id]
        if run := tenant.runs.get(run_id):
            run.release(run_id)
            tenant.runs.move_to_end(run_id)
            tenant.forget_ended()

    def renew(
        self,
        tenant_id: TenantId,
        now: datetime,
        *,
        run_id: RunId,
        subject_id: SubjectId | None,
        holds: Mapping[int, Claim],
    ) -> None:
        """Adopt a living run that nobody here knows, with what it holds."""
        tenant = self._tenants[tenant_id]
        if run_id in tenant.runs:
            return
        run = tenant.run(run_id, subject_id)
        run.take_slot(run_id)
        for call, claim in holds.items():
            run.inherit(call, periods_at(now), claim)

    def standings(
        self, tenant_id: TenantId, plan: Plan, now: datetime, subject_id: SubjectId | None = None
    ) -> tuple[Standing, ...]:
        """Where tenant and user stand: requests and runs against our share, budgets as known."""
        accounts = self._tenants[tenant_id].accounts(subject_id)
        return Decision(accounts, plan, now, self._replicas).standings()


def _refused(asked: Decision, waits: Sequence[Wait]) -> Verdict:
    worst = longest(waits)
    return Verdict(asked.standings(), worst.name, worst.time, held_at=asked.now)


def _refused_unless_ours(asked: Decision, waits: Sequence[Wait]) -> Verdict:
    """What only our share refuses is no limit of the tenant's: 503, never 429."""
    worst = longest(waits)
    if worst.ours:
        raise Unavailable(f"The {worst.name} that is given without Redis is used up.")
    return _refused(asked, waits)
