"""A turn that remembers what it was asked, for the graph's own decisions."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tenancy.audit import Outcome
from tenancy.component import ActorChain
from tenancy.ids import PlanId, RunId, SubjectId, TenantId, ThreadId
from tenancy.plan import Plan
from tenancy.principal import MEMBER_SCOPES, Principal, Role
from tenancy.tenant import Tenant, TenantStatus
from tenancy.usage import Meter, Tokens

ACME = Tenant(TenantId("acme"), "Acme", TenantStatus.ACTIVE, Plan(PlanId("free")), "first")


def principal(tenant: str = "acme") -> Principal:
    """A member of `tenant`."""
    return Principal(TenantId(tenant), SubjectId("alice"), Role.MEMBER, MEMBER_SCOPES, "test")


@dataclass
class RecordingTurn:
    """Implements the port `Turn`: `affordable` says which holds the budget allows."""

    principal: Principal = field(default_factory=principal)
    tenant: Tenant = ACME
    affordable: Callable[[int], bool] = lambda tokens: True
    admissions: list[int] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    settled: list[tuple[int, Tokens, str]] = field(default_factory=list)
    usage: list[tuple[Meter, int]] = field(default_factory=list)
    actions: list[tuple[str, str, Outcome]] = field(default_factory=list)
    calls: int = 0

    @property
    def admitted(self) -> bool:
        return bool(self.admissions)

    async def admit(self, hold_tokens: int, wanted_tokens: int) -> None:
        self.admissions.append(hold_tokens)

    def next_call(self) -> int:
        self.calls += 1
        return self.calls - 1

    async def reserve(self, call: int, tokens: int) -> bool:
        self.holds.append(tokens)
        return self.affordable(tokens)

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


@dataclass
class OneTurn:
    """Implements the port `Turns`: every run has the same turn."""

    turn: RecordingTurn

    async def enter(
        self, principal: Principal, run_id: RunId, thread_id: ThreadId | None
    ) -> RecordingTurn:
        return self.turn
