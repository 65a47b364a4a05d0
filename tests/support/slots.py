"""Tenants that wait in front of a model, and an endpoint that serves them."""

import asyncio
from dataclasses import dataclass, field, replace

from server.model_slots import ModelSlots
from server.slot import Place
from tenancy.fairness import Priority
from tenancy.ids import PlanId, TenantId
from tenancy.plan import Plan
from tenancy.tenant import Tenant, TenantStatus

MODEL = "https://model.example/v1"
PATIENT = Plan(PlanId("patient"), queue_length=100_000, queue_seconds=3600)
FOREVER = replace(PATIENT, queue_seconds=10**9)


def tenant(name: str, plan: Plan = PATIENT) -> Tenant:
    return Tenant(TenantId(name), name, TenantStatus.ACTIVE, plan, "first")


@dataclass(slots=True)
class Model:
    """Serves calls in front of which `slots` stands, and keeps account of who waited how long."""

    slots: ModelSlots
    endpoint: str = MODEL
    tokens_per_second: float = 1000.0
    counted: bool = True  # by their tokens; otherwise each call is one
    in_flight: int = 0
    most_in_flight: int = 0
    served: dict[str, int] = field(default_factory=dict)
    waits: dict[str, list[float]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)

    async def run(
        self,
        of: Tenant,
        tokens: int,
        *,
        priority: Priority = Priority.INTERACTIVE,
        estimate: int | None = None,
    ) -> None:
        """One run with one call."""
        place = self.slots.enter(of, priority)
        try:
            await self.call(of, place, tokens, estimate=estimate)
        finally:
            self.slots.leave(place)

    async def call(
        self, of: Tenant, place: Place, tokens: int, *, estimate: int | None = None
    ) -> None:
        """One call of a run."""
        clock, name = asyncio.get_running_loop().time, of.tenant_id
        asked = clock()
        expected = (estimate or tokens) if self.counted else 1
        async with self.slots.slot(place, self.endpoint, tokens=expected) as slot:
            self.waits.setdefault(name, []).append(clock() - asked)
            self.order.append(name)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                await asyncio.sleep(tokens / self.tokens_per_second)
            finally:
                self.in_flight -= 1
            slot.served(tokens if self.counted else 1)
            self.served[name] = self.served.get(name, 0) + tokens
