"""What the graph needs from elsewhere."""

from typing import Protocol

from langchain_core.language_models import BaseChatModel

from tenancy.audit import Outcome
from tenancy.component import ActorChain
from tenancy.document import Found
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.principal import Principal
from tenancy.tenant import Tenant
from tenancy.usage import Meter, Tokens


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
    def admitted(self) -> bool:
        """Whether the run has been admitted."""
        ...

    async def admit(self, hold_tokens: int, wanted_tokens: int) -> None:
        """Take a slot and a hold for the first model call; once per run.

        The hold is `wanted_tokens` where the budget has room for them.
        Raises `QuotaExceeded`, `Unavailable`.
        """
        ...

    def next_call(self) -> int:
        """The number of the model call about to be made, from 0."""
        ...

    async def reserve(self, call: int, tokens: int) -> bool:
        """Make the hold of a model call `tokens` at least; False when the budget says no."""
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

    async def search(self, tenant_id: TenantId, query: str, limit: int) -> Found:
        """The best `limit` passages, best first."""
        ...


class Models(Protocol):
    """The chat models of this deployment."""

    @property
    def default(self) -> str:
        """The name of the model a tenant gets that chose none."""
        ...

    def get(self, name: str) -> BaseChatModel:
        """The model called `name`; its calls raise `ModelFailed` or `ModelTimeout`."""
        ...
