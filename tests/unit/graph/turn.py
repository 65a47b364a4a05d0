"""A turn that remembers what it was asked, for the graph's own decisions."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from graph.ports import NOTHING
from tenancy.audit import Outcome
from tenancy.component import ActorChain
from tenancy.ids import PlanId, RunId, SubjectId, TenantId, ThreadId
from tenancy.memory import Memory, Recall
from tenancy.plan import Plan
from tenancy.principal import MEMBER_SCOPES, Principal, Role
from tenancy.quota import Claim
from tenancy.summary import Summary
from tenancy.tenant import Tenant, TenantStatus
from tenancy.usage import Meter, Tokens

ACME = Tenant(TenantId("acme"), "Acme", TenantStatus.ACTIVE, Plan(PlanId("free")), "first")


def principal(tenant: str = "acme") -> Principal:
    """A member of `tenant`."""
    return Principal(TenantId(tenant), SubjectId("alice"), Role.MEMBER, MEMBER_SCOPES, "test")


@dataclass
class RecordingSlot:
    """Implements the port `Slot`."""

    tokens: int | None = None

    def served(self, tokens: int) -> None:
        self.tokens = tokens


@dataclass
class RecordingTurn:
    """Implements the port `Turn`: `affordable` says which claims the budget allows."""

    principal: Principal = field(default_factory=principal)
    tenant: Tenant = ACME
    affordable: Callable[[Claim], bool] = lambda claim: True
    admissions: list[Sequence[Claim]] = field(default_factory=list)
    holds: list[Claim] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    tokens: Tokens = field(default_factory=Tokens)
    settled: list[tuple[int, Tokens, str]] = field(default_factory=list)
    usage: list[tuple[Meter, int]] = field(default_factory=list)
    actions: list[tuple[str, str, Outcome]] = field(default_factory=list)
    attributes: list[dict[str, str | int]] = field(default_factory=list)
    may: Callable[[str], bool] = lambda model: True
    asked: list[tuple[int, str, int]] = field(default_factory=list)
    slots: list[tuple[str, int | None]] = field(default_factory=list)
    forfeited: list[tuple[int, str]] = field(default_factory=list)
    calls: int = 0
    summary: Summary | None = None
    citable: set[int] = field(default_factory=set)
    memory: Recall = Recall.OFF
    recalled: list[Memory] = field(default_factory=list)

    @property
    def admitted(self) -> bool:
        return bool(self.admissions)

    async def admit(self, offers: Sequence[Claim], wanted: Claim) -> None:
        self.admissions.append(offers)

    async def clear(self) -> None:
        return None

    def next_call(self) -> int:
        self.calls += 1
        return self.calls - 1

    async def reserve(self, call: int, offers: Sequence[Claim]) -> int | None:
        for index, claim in enumerate(offers):
            self.holds.append(claim)
            if self.affordable(claim):
                return index
        return None

    def degrade(self, steps: Sequence[str]) -> None:
        self.steps += steps

    async def may_use(self, call: int, model: str, *, spent: Tokens = NOTHING) -> bool:
        self.asked.append((call, model, spent.total))
        return self.may(model)

    @asynccontextmanager
    async def slot(self, call: int, model: str) -> AsyncIterator[RecordingSlot]:
        slot = RecordingSlot()
        try:
            yield slot
        finally:
            self.slots.append((model, slot.tokens))

    def forfeit(self, call: int, model: str) -> None:
        self.forfeited.append((call, model))

    async def settle(self, call: int, tokens: Tokens, model: str) -> None:
        self.settled.append((call, tokens, model))

    def used(self, meter: Meter, quantity: int, model: str, part: str) -> None:
        self.usage.append((meter, quantity))

    def token(self) -> str:
        return "a token that no gate was asked to check"

    def did(
        self,
        action: str,
        resource: str,
        outcome: Outcome,
        *,
        actors: ActorChain | None = None,
        **attributes: str | int,
    ) -> None:
        self.actions.append((action, resource, outcome))
        self.attributes.append(attributes)


@dataclass
class OneTurn:
    """Implements the port `Turns`: every run has the same turn."""

    turn: RecordingTurn

    async def enter(
        self, principal: Principal, run_id: RunId, thread_id: ThreadId | None
    ) -> RecordingTurn:
        return self.turn
