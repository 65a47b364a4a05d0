"""What the graph needs from elsewhere."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol

from langchain_core.language_models import BaseChatModel

from tenancy.audit import Outcome
from tenancy.component import ActorChain
from tenancy.document import Found
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.memory import Memory, Recall, Recalled
from tenancy.plan import Step
from tenancy.principal import Principal
from tenancy.quota import Claim
from tenancy.search_filter import SearchFilter
from tenancy.summary import Summary
from tenancy.tenant import Tenant
from tenancy.usage import Meter, Tokens

NOTHING = Tokens()


class Slot(Protocol):
    """A place among the model calls in flight."""

    def served(self, tokens: int) -> None:
        """Say what the call took, in and out."""
        ...


class Turn(Protocol):
    """One run of one principal: what it may spend, and the record of what it did."""

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        ...

    @property
    def tenant(self) -> Tenant:
        """On behalf of whom."""
        ...

    @property
    def summary(self) -> Summary | None:
        """What stands for the beginning of its thread in prompts."""
        ...

    @property
    def citable(self) -> set[int]:
        """The numbers of the passages that the prompt at hand shows."""
        ...

    @property
    def memory(self) -> Recall:
        """Whether the person is remembered, and whether there is anything to recall."""
        ...

    @property
    def recalled(self) -> list[Memory]:
        """What the run recalled, at its first model call; it is never stored with the thread."""
        ...

    @property
    def admitted(self) -> bool:
        """Whether the run has been admitted."""
        ...

    async def admit(self, offers: Sequence[Claim], wanted: Claim) -> None:
        """Take a slot and a hold for the first model call; once per run.

        It holds the first of `offers` that fits, or `wanted` where the budgets have room for it.
        Raises `QuotaExceeded`, `Invalid` for what a run may never take, `Unavailable`.
        """
        ...

    async def clear(self) -> None:
        """Say that the run goes on: from now on it is remembered, whatever becomes of it.

        Getting to the model says so too; what has an effect before that says it itself.
        """
        ...

    @property
    def tokens(self) -> Tokens:
        """What the run's model calls took so far."""
        ...

    def next_call(self) -> int:
        """The number of the model call about to be made, from 0: admission holds for that one.

        What prepares an answer has numbers of its own, below 0.
        """
        ...

    async def reserve(self, call: int, offers: Sequence[Claim]) -> int | None:
        """Hold the first of `offers` that fits; its index, or None when the budgets say no."""
        ...

    def degrade(self, steps: Sequence[Step]) -> None:
        """Record which rungs of the ladder the run went down, for client and audit."""
        ...

    async def may_use(self, call: int, model: str, *, spent: Tokens = NOTHING) -> bool:
        """Make the hold of a model call suffice for `model`; False when the budget says no.

        `spent` is what models asked before it for the same call have cost: it is held as well.
        """
        ...

    def slot(self, call: int, model: str) -> AbstractAsyncContextManager[Slot]:
        """Wait for the tenant's turn at the endpoint of `model`, and have it for the block.

        Raises `QuotaExceeded` or `Unavailable`.
        """
        ...

    def forfeit(self, call: int, model: str) -> None:
        """Charge the whole hold of a call of `model` that ended without anybody's figures."""
        ...

    async def settle(self, call: int, tokens: Tokens, model: str) -> None:
        """Replace a call's hold by what the provider counted, exactly once, and record it."""
        ...

    def used(self, meter: Meter, quantity: int, model: str, part: str) -> None:
        """Record usage; `part` names what of the run used it, so that a repetition is known."""
        ...

    def token(self) -> str:
        """The run's transaction token. It goes to the gate: never into state, logs or prompts."""
        ...

    def did(
        self,
        action: str,
        resource: str,
        outcome: Outcome,
        *,
        actors: ActorChain | None = None,
        **attributes: str | int,
    ) -> None:
        """Record an action for the audit: names and counts, never content.

        `actors` is who acted, where that is somebody beyond the graph.
        """
        ...


class Turns(Protocol):
    """The runs in flight in this process."""

    async def enter(self, principal: Principal, run_id: RunId, thread_id: ThreadId | None) -> Turn:
        """The turn of this run. Raises `TenantSuspended`, `NotAuthenticated` or `Unavailable`."""
        ...


class Passages(Protocol):
    """Finds passages in one tenant's documents. Raises `ModelFailed` or `Unavailable`."""

    async def search(
        self, tenant_id: TenantId, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        """The best `limit` passages, best first, of documents that `within` lets through."""
        ...


class Memories(Protocol):
    """What is remembered of people and tenants. Raises `ModelFailed` or `Unavailable`."""

    async def recall(self, principal: Principal, question: str, limit: int) -> Recalled:
        """At most `limit` memories that bear on a question."""
        ...


class Breakers(Protocol):
    """What a tenant knows of its models' failures."""

    def require_closed(self, tenant_id: TenantId, model: str) -> None:
        """Raise `BreakerOpen` where a call could not be made now."""
        ...

    def call(self, tenant_id: TenantId, model: str) -> AbstractContextManager[None]:
        """A call of `model`, which succeeds or fails as the block does; raises `BreakerOpen`."""
        ...


class Models(Protocol):
    """The chat models of this deployment."""

    @property
    def default(self) -> str:
        """The name of the model a tenant gets that chose none."""
        ...

    @property
    def breakers(self) -> Breakers:
        """Which models are left alone for a while."""
        ...

    def get(self, name: str) -> BaseChatModel:
        """The model called `name`; its calls raise `ModelFailed` or `ModelTimeout`."""
        ...
