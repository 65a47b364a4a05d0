"""The one place that decides who runs now, for how much, and what if there is not enough."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

from server.admission_queue import AdmissionQueue
from server.alerts import Alerts
from server.model_slots import ModelSlots
from server.quota_metrics import count_admission, observe_model_wait
from server.quotas import Quotas
from server.refusals import Refusals
from server.settings import OFFLINE_MODEL
from server.slot import Place, Slot
from tenancy.errors import Unavailable
from tenancy.fairness import Priority
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import UNLIMITED, Plan
from tenancy.price import Prices, price_of
from tenancy.quota import Claim, Standing, Verdict, budgets_of
from tenancy.tenant import Tenant
from tenancy.usage import Tokens


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """Limits of tenant, user and run, and the way to the model behind them."""

    quotas: Quotas
    slots: ModelSlots
    line: AdmissionQueue
    alerts: Alerts
    prices: Callable[[], Awaitable[Prices]]
    endpoint_of: Callable[[str], str]
    reconcile: Callable[[TenantId], None]
    refusals: Refusals = field(default_factory=Refusals)

    def enter(self, tenant: Tenant, priority: Priority) -> Place:
        """A place in the tenant's queue for the model; raises `QuotaExceeded` when it is full."""
        return self.slots.enter(tenant, priority)

    async def admit(
        self,
        tenant: Tenant,
        *,
        run_id: RunId,
        subject_id: SubjectId,
        offers: Sequence[Claim],
        wanted: Claim,
    ) -> tuple[Verdict, bool]:
        """Admit a run, at once or after its tenant's limits gave room; whether it waited.

        Raises `Unavailable`.
        """
        priced, [more] = await self.priced(tenant, offers), await self.priced(tenant, [wanted])

        async def ask() -> Verdict:
            return await self.quotas.admit(
                tenant.tenant_id,
                tenant.plan,
                run_id=run_id,
                subject_id=subject_id,
                offers=priced,
                wanted=more,
            )

        started = perf_counter()
        try:
            verdict, waited = await self.line.admitted(tenant.tenant_id, tenant.plan, ask)
        except Unavailable:
            count_admission("unavailable", seconds=perf_counter() - started)
            raise
        outcome = "admitted" if verdict.admitted else "refused"
        count_admission(outcome, verdict.refused_by, seconds=perf_counter() - started)
        self.refusals.note(tenant.tenant_id, subject_id, tenant.plan, verdict)
        self._noted(tenant, subject_id, verdict)
        self.slots.elsewhere(tenant.tenant_id, verdict.served)
        return verdict, waited

    async def reserve(
        self,
        tenant: Tenant,
        *,
        run_id: RunId,
        subject_id: SubjectId,
        call: int,
        offers: Sequence[Claim],
    ) -> Verdict:
        """Hold the first of `offers` that fits. Raises `Unavailable`."""
        verdict = await self.quotas.reserve(
            tenant.tenant_id,
            tenant.plan,
            run_id=run_id,
            subject_id=subject_id,
            call=call,
            offers=offers,
        )
        self._noted(tenant, subject_id, verdict)
        return verdict

    def _noted(self, tenant: Tenant, subject_id: SubjectId, verdict: Verdict) -> None:
        """Tell of budgets that are nearly used up, and have what expired reconciled."""
        self.alerts.note(
            tenant.tenant_id, verdict.standings, verdict.refused_by, subject_id=subject_id
        )
        if verdict.expired:
            self.reconcile(tenant.tenant_id)

    async def priced(self, tenant: Tenant, claims: Sequence[Claim]) -> list[Claim]:
        """The claims with what their tokens may cost at most.

        Raises `Unavailable` for a model without a price where the tenant has a budget of money.
        """
        prices = await self.prices()
        return [self._priced(tenant.plan, claim, prices) for claim in claims]

    def _priced(self, plan: Plan, claim: Claim, prices: Prices) -> Claim:
        price = price_of(prices, claim.model)
        if price is None:
            if claim.model != OFFLINE_MODEL and _has_money_budget(plan):
                raise Unavailable(f"The model {claim.model} has no price yet.")
            return claim
        output_tokens = claim.tokens - claim.input_tokens
        return replace(claim, micros=price.cost(Tokens(claim.input_tokens, output_tokens)))

    @asynccontextmanager
    async def slot(self, place: Place, model: str, tokens: int) -> AsyncIterator[Slot]:
        """Wait for the tenant's turn at the endpoint of `model`. Raises `Overloaded`."""
        started = perf_counter()
        async with self.slots.slot(place, self.endpoint_of(model), tokens=tokens) as slot:
            observe_model_wait(place.priority, perf_counter() - started)
            yield slot

    def leave(self, tenant_id: TenantId, place: Place) -> None:
        """The run is over, or was refused: its place is free."""
        self.slots.leave(place)
        self.line.freed(tenant_id)

    async def standings(
        self, tenant: Tenant, subject_id: SubjectId | None = None
    ) -> tuple[Standing, ...]:
        """Where tenant and user stand. Raises `Unavailable`."""
        return await self.quotas.standings(tenant.tenant_id, tenant.plan, subject_id)


def _has_money_budget(plan: Plan) -> bool:
    return any(b.meter == "money" and b.limit != UNLIMITED for b in budgets_of(plan))
