"""The runs in flight in this process: what each may spend and what it did."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid5

import structlog

from server.auth import Directory
from server.components import Components, Transaction
from storage.quota import RedisQuota
from storage.turn import TurnRecord
from tenancy.audit import AuditEvent, Outcome
from tenancy.component import ActorChain
from tenancy.errors import (
    IsolationBreach,
    NotAuthenticated,
    QuotaExceeded,
    TenantMismatch,
    Unavailable,
)
from tenancy.ids import RunId, ThreadId
from tenancy.principal import Principal
from tenancy.quota import Standing
from tenancy.tenant import Tenant
from tenancy.usage import NAMESPACE, Meter, Tokens, UsageEvent, usage_event_id

log = structlog.get_logger()


async def _nothing() -> None:
    return None


@dataclass(slots=True)
class RunTurn:
    """One run: implements the port `Turn` of the graph."""

    principal: Principal
    tenant: Tenant
    run_id: RunId
    thread_id: ThreadId | None
    quota: RedisQuota
    transaction: Transaction
    record: TurnRecord = field(default_factory=TurnRecord)
    when_admitted: Callable[[], Awaitable[None]] = _nothing
    admitted: bool = False
    standings: tuple[Standing, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    _holds: dict[int, int] = field(default_factory=dict)
    _unsettled: tuple[int, int] | None = None
    _calls: int = 0
    _actions: int = 0

    async def admit(self, hold_tokens: int, wanted_tokens: int) -> None:
        """Take a slot and the first hold, once; raises `QuotaExceeded` or `Unavailable`."""
        if self.admitted:
            return
        verdict = await self.quota.admit(
            self.tenant.tenant_id,
            self.tenant.plan,
            run_id=self.run_id,
            hold_tokens=hold_tokens,
            wanted_tokens=wanted_tokens,
        )
        self.standings = verdict.standings
        if verdict.refused_by is not None:
            raise QuotaExceeded(verdict.refused_by, verdict.retry_after)
        self.admitted = True
        self._holds[0] = verdict.held
        await self.when_admitted()

    def next_call(self) -> int:
        """The number of the model call about to be made, from 0."""
        call, self._calls = self._calls, self._calls + 1
        return call

    async def reserve(self, call: int, tokens: int) -> bool:
        """Make the hold of a model call `tokens` at least; False when the budget says no."""
        if self._holds.get(call, 0) >= tokens:
            return True
        await self._settle_pending()
        verdict = await self.quota.reserve(
            self.tenant.tenant_id, self.tenant.plan, run_id=self.run_id, call=call, tokens=tokens
        )
        if verdict.admitted:
            self._holds[call] = tokens
        return verdict.admitted

    async def settle(self, call: int, tokens: Tokens, model: str) -> None:
        """Replace the hold of a call by the provider's figure, exactly once.

        The last call is settled with the run's release: one trip to Redis, not two.
        """
        self.tokens += tokens
        self.used(Meter.INPUT_TOKENS, tokens.input_tokens, model, f"call/{call}")
        self.used(Meter.OUTPUT_TOKENS, tokens.output_tokens, model, f"call/{call}")
        await self._settle_pending()
        self._unsettled = (call, tokens.total)

    async def _settle_pending(self) -> None:
        """With Redis away the hold stands until it expires; the ledger has the figure."""
        if self._unsettled is None:
            return
        (call, tokens), self._unsettled = self._unsettled, None
        try:
            await self.quota.settle(
                self.tenant.tenant_id, run_id=self.run_id, call=call, tokens=tokens
            )
        except Unavailable:
            log.warning("settle_postponed", call=call, tokens=tokens)

    async def release(self) -> None:
        """Settle the last call, free the slot, give back what is held.

        With Redis away all of it expires by itself.
        """
        last, self._unsettled = self._unsettled, None
        try:
            await self.quota.release(self.tenant.tenant_id, self.run_id, last=last)
        except Unavailable:
            log.warning("release_postponed", tokens=self.tokens.total)

    def used(self, meter: Meter, quantity: int, model: str, part: str) -> None:
        """Record usage for the turn's next commit; nothing for a quantity of 0."""
        if quantity:
            event_id = usage_event_id(self.run_id, meter, part)
            self.record.usage.append(
                UsageEvent(
                    event_id,
                    meter,
                    quantity,
                    model,
                    self.run_id,
                    self.principal.subject_id,
                    datetime.now(UTC),
                )
            )

    def token(self) -> str:
        """The run's transaction token: never to be stored, logged or shown."""
        return self.transaction.token()

    def did(
        self,
        action: str,
        resource: str,
        outcome: Outcome,
        *,
        actors: ActorChain | None = None,
        **attributes: str | int,
    ) -> None:
        """Record an action for the turn's next commit; of the graph unless `actors` goes on."""
        event = self.event(action, resource, outcome, actors=actors, **attributes)
        self.record.audit.append(event)

    def breached(self, breach: IsolationBreach) -> None:
        """Record where the run met something foreign, and never whose it was."""
        self.did("isolation.breach", "", Outcome.FAILED, boundary=breach.boundary)

    def event(
        self,
        action: str,
        resource: str,
        outcome: Outcome,
        *,
        actors: ActorChain | None = None,
        **attributes: str | int,
    ) -> AuditEvent:
        """An audit event of this run, with an id that follows from the run and its order."""
        self._actions += 1
        return AuditEvent(
            event_id=uuid5(NAMESPACE, f"{self.run_id}/audit/{self._actions}"),
            actor=str(actors or self.transaction.actors),
            subject_id=self.principal.subject_id,
            action=action,
            resource=resource,
            outcome=outcome,
            created_at=datetime.now(UTC),
            run_id=self.run_id,
            thread_id=self.thread_id,
            attributes=attributes,
        )


class RunTurns:
    """Implements the port `Turns`: a run's turn by its id, made when a run enters without one."""

    def __init__(self, directory: Directory, quota: RedisQuota, components: Components) -> None:
        self._directory = directory
        self._quota = quota
        self._components = components
        self._open: dict[RunId, RunTurn] = {}

    async def open(
        self, principal: Principal, run_id: RunId, thread_id: ThreadId | None
    ) -> RunTurn:
        """A new turn. Raises `NotAuthenticated`, `TenantSuspended` or `Unavailable`."""
        tenant = await self.require_served(principal)
        transaction = self._components.begin(principal, run_id)
        turn = RunTurn(principal, tenant, run_id, thread_id, self._quota, transaction)
        self._open[run_id] = turn
        return turn

    async def enter(
        self, principal: Principal, run_id: RunId, thread_id: ThreadId | None
    ) -> RunTurn:
        """The turn of this run; raises `TenantMismatch` when it is another principal's."""
        turn = self._open.get(run_id)
        if turn is None:
            return await self.open(principal, run_id, thread_id)
        if turn.principal != principal:
            raise TenantMismatch
        await self.require_served(principal)
        return turn

    async def require_served(self, principal: Principal) -> Tenant:
        """The principal's tenant, now.

        Raises `NotAuthenticated` for a revoked credential, `TenantSuspended` or `Unavailable`.
        """
        tenant = await self._directory.tenant(principal.tenant_id)
        if tenant is None:
            raise NotAuthenticated
        tenant.require_served(principal)
        return tenant

    def find(self, run_id: RunId) -> RunTurn | None:
        """The run's turn, if it has one yet."""
        return self._open.get(run_id)

    def close(self, run_id: RunId) -> RunTurn | None:
        """Forget the run; its turn, if it had one."""
        return self._open.pop(run_id, None)
