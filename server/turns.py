"""The runs in flight in this process: what each may spend and what it did."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid5

import structlog

from graph.ports import NOTHING
from server.auth import Directory
from server.components import Components, Transaction
from server.orchestrator import Orchestrator
from server.personalities import Personalities
from server.quota_metrics import count_degraded, count_tokens
from server.slot import Place, Slot
from storage.turn import TurnRecord
from tenancy.assistant import Chosen, Speaking, Wanted, speech
from tenancy.audit import AuditEvent, Outcome
from tenancy.component import ActorChain
from tenancy.errors import (
    Invalid,
    IsolationBreach,
    NotAuthenticated,
    QuotaExceeded,
    Refusal,
    TenantMismatch,
    Unavailable,
)
from tenancy.fairness import Priority
from tenancy.ids import RunId, ThreadId
from tenancy.memory import Memory, Recall
from tenancy.personalisation import Layer, Source
from tenancy.plan import Step
from tenancy.principal import Principal
from tenancy.quota import TOKENS_PER_RUN, Claim, Standing, Verdict
from tenancy.reconciliation import call_events
from tenancy.summary import Summary
from tenancy.tenant import Tenant
from tenancy.usage import NAMESPACE, Meter, Tokens, UsageEvent, usage_event_id
from tenancy.wishes import NO_WISHES, Wishes

log = structlog.get_logger()


async def _nothing() -> None:
    return None


def _covers(held: Claim | None, claim: Claim) -> bool:
    return held is not None and held.tokens >= claim.tokens and held.micros >= claim.micros


def _refusal(refused_by: str, verdict: Verdict) -> Refusal:
    if refused_by == TOKENS_PER_RUN:
        return Invalid("message", "needs more tokens than one run may take")
    return QuotaExceeded(refused_by, verdict.retry_after)


@dataclass(slots=True)
class RunTurn:
    """One run: implements the port `Turn` of the graph."""

    principal: Principal
    tenant: Tenant
    run_id: RunId
    thread_id: ThreadId | None
    orchestrator: Orchestrator
    transaction: Transaction
    priority: Priority = Priority.INTERACTIVE
    summary: Summary | None = None
    citable: set[int] = field(default_factory=set)
    chosen: Chosen = field(default_factory=Chosen)
    memory: Recall = Recall.OFF
    recalled: list[Memory] = field(default_factory=list)
    record: TurnRecord = field(default_factory=TurnRecord)
    when_cleared: Callable[[], Awaitable[None]] = _nothing
    when_degraded: Callable[[Sequence[str]], None] = lambda steps: None
    admitted: bool = False
    cleared: bool = False
    degraded: list[str] = field(default_factory=list)
    standings: tuple[Standing, ...] = ()
    tokens: Tokens = field(default_factory=Tokens)
    _place: Place | None = None
    _asked_in: bool = False  # an admission was asked for, and its answer may be lost
    _holds: dict[int, Claim] = field(default_factory=dict)
    _held_at: dict[int, datetime] = field(default_factory=dict)
    _asked: dict[int, Claim] = field(default_factory=dict)
    _unsettled: dict[int, Claim] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)
    _calls: int = 0
    _actions: int = 0

    async def admit(self, offers: Sequence[Claim], wanted: Claim) -> None:
        """Take a place, a slot and the first hold, once.

        Raises `QuotaExceeded`, `Invalid` for what a run may never take, `Unavailable`.
        """
        if self.admitted:
            return
        self._enter()
        self._asked_in = True
        verdict, waited = await self.orchestrator.admit(
            self.tenant,
            run_id=self.run_id,
            subject_id=self.principal.subject_id,
            offers=offers,
            wanted=wanted,
        )
        self.standings = verdict.standings
        if verdict.refused_by is not None:
            self._asked_in = False
            raise _refusal(verdict.refused_by, verdict)
        self.admitted = True
        self._note_hold(0, verdict)
        if waited:
            self.degrade([Step.QUEUE])

    def enter_early(self) -> None:
        """Take the place in the queue before the run is opened: a flood's run is refused unopened.

        Raises `QuotaExceeded` where the queue is full, or where a rate is known to refuse.
        """
        if Step.QUEUE not in self.tenant.plan.degrade:
            self.orchestrator.refusals.require_place(
                self.tenant.tenant_id, self.principal.subject_id, self.tenant.plan
            )
        self._enter()

    def _enter(self) -> None:
        if self._place is None:
            self._place = self.orchestrator.enter(self.tenant, self.priority)

    async def clear(self) -> None:
        """The run goes on: from now on what it does is remembered. Once."""
        if not self.cleared:
            self.cleared = True
            await self.when_cleared()

    def next_call(self) -> int:
        """The number of the model call about to be made, from 0."""
        call, self._calls = self._calls, self._calls + 1
        return call

    def speak_as(self, speaking: Speaking, context: Mapping[str, Any]) -> None:
        """Have an assistant speak, as its user prefers and where the user is."""
        self.chosen = speaking.chosen
        said = [
            Layer(Source.ASSISTANT, speech(self.chosen.content)),
            Layer(Source.USER, speaking.preferences),
            Layer(Source.REQUEST, context),
        ]
        self.tenant = replace(self.tenant, personal=self.tenant.effective.joined(said))
        if not self.chosen.is_default:
            version = self.chosen.version or "draft"
            self.did("assistant.use", self.chosen.name, Outcome.ALLOWED, version=version)

    async def reserve(self, call: int, offers: Sequence[Claim]) -> int | None:
        """Hold the first of `offers` that fits; its index, or None when the budgets say no."""
        priced = await self.orchestrator.priced(self.tenant, offers)
        if _covers(self._holds.get(call), priced[0]):
            self._asked[call] = priced[0]
            return 0
        await self._settle_pending()
        verdict = await self.orchestrator.reserve(
            self.tenant,
            run_id=self.run_id,
            subject_id=self.principal.subject_id,
            call=call,
            offers=priced,
        )
        if not verdict.admitted:
            return None
        self._note_hold(call, verdict)
        self._asked[call] = priced[verdict.chosen]
        return verdict.chosen

    def _note_hold(self, call: int, verdict: Verdict) -> None:
        self._holds[call] = verdict.held
        self._held_at.setdefault(call, verdict.held_at or datetime.now(UTC))

    async def may_use(self, call: int, model: str, *, spent: Tokens = NOTHING) -> bool:
        """Whether the call may be made to `model` too; it then holds what that may cost.

        `spent` is what models asked before it for the same call have cost.
        """
        asked = self._asked[call]
        tokens, prompt = asked.tokens + spent.total, asked.input_tokens + spent.input_tokens
        claim = replace(asked, tokens=tokens, input_tokens=prompt, model=model)
        return await self.reserve(call, [claim]) is not None

    @asynccontextmanager
    async def slot(self, call: int, model: str) -> AsyncIterator[Slot]:
        """Wait for the tenant's turn at the endpoint of `model`; the run goes on from there.

        Raises `Unavailable`.
        """
        if self._place is None:
            raise NotAuthenticated("The run was not admitted.")
        async with self.orchestrator.slot(self._place, model, self._asked[call].tokens) as slot:
            await self.clear()
            yield slot

    def degrade(self, steps: Sequence[str]) -> None:
        """Record the rungs of the ladder that the run went down, each once."""
        new = [str(step) for step in steps if step not in self.degraded]
        if new:
            self.degraded += new
            self.did("run.degrade", "", Outcome.ALLOWED, steps=",".join(new))
            for step in new:
                count_degraded(step)
            self.when_degraded(new)

    async def settle(self, call: int, tokens: Tokens, model: str) -> None:
        """Replace the hold of a call by the provider's figure, exactly once.

        The last call is settled with the run's release: one trip to Redis, not two.
        """
        took = await self._cost(call, Claim(tokens.total, 0, tokens.input_tokens, model))
        await self._settle_pending()
        self._took(call, took)

    async def _cost(self, call: int, took: Claim) -> Claim:
        """With its cost; where no price can be read any more, with what it may have cost."""
        try:
            [priced] = await self.orchestrator.priced(self.tenant, [took])
        except Unavailable:
            asked = self._asked.get(call)
            return replace(took, micros=asked.micros) if asked else took
        return priced

    def forfeit(self, call: int, model: str) -> None:
        """Charge all that a call may take: it was cut off, and nobody says what it took."""
        self._took(call, replace(self._asked[call], model=model))

    def _took(self, call: int, took: Claim) -> None:
        tokens = Tokens(took.input_tokens, took.tokens - took.input_tokens)
        self.tokens += tokens
        count_tokens(tokens)
        at, subject_id = self._held_at.get(call) or datetime.now(UTC), self.principal.subject_id
        self.record.usage += call_events(self.run_id, subject_id, call, took, at)
        self._unsettled[call] = took
        self._done.add(call)

    async def _settle_pending(self) -> None:
        """What cannot be settled now is reconciled: the ledger has the figure."""
        while self._unsettled:
            call, took = next(iter(self._unsettled.items()))
            await self._settled(call, took)
            self._unsettled.pop(call, None)  # not before: a cancelled run still has to say it

    async def _settled(self, call: int, took: Claim) -> None:
        try:
            await self.orchestrator.quotas.settle(
                self.tenant.tenant_id,
                run_id=self.run_id,
                subject_id=self.principal.subject_id,
                call=call,
                actual=took,
            )
        except Unavailable:
            log.warning("settle_postponed", call=call, tokens=took.tokens)

    async def renew(self) -> None:
        """Keep what the run holds; once it is admitted. Raises `Unavailable`."""
        if self.admitted:
            holds = {call: held for call, held in self._holds.items() if call not in self._done}
            await self.orchestrator.quotas.renew(
                self.tenant.tenant_id,
                self.run_id,
                subject_id=self.principal.subject_id,
                holds=holds,
            )

    async def release(self) -> None:
        """Settle the last call, free the slot, give back what is held.

        With Redis away all of it expires by itself.
        """
        last = self._unsettled.popitem() if self._unsettled else None
        await self._settle_pending()
        try:
            await self.orchestrator.quotas.release(
                self.tenant.tenant_id,
                self.run_id,
                subject_id=self.principal.subject_id,
                last=last,
            )
        except Unavailable:
            log.warning("release_postponed", tokens=self.tokens.total)
        finally:
            self.leave()

    async def take_back(self) -> None:
        """Release what was perhaps never taken. Raises `Unavailable`."""
        self.leave()
        if self._asked_in:
            await self.orchestrator.quotas.release(
                self.tenant.tenant_id, self.run_id, subject_id=self.principal.subject_id
            )

    def leave(self) -> None:
        """Let go of the place in the queue, if there is one."""
        if self._place is not None:
            self.orchestrator.leave(self.tenant.tenant_id, self._place)
            self._place = None

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

    def __init__(
        self,
        directory: Directory,
        orchestrator: Orchestrator,
        components: Components,
        personalities: Personalities,
    ) -> None:
        self._directory = directory
        self._orchestrator = orchestrator
        self._components = components
        self._personalities = personalities
        self._open: dict[RunId, RunTurn] = {}

    async def open(
        self,
        principal: Principal,
        run_id: RunId,
        thread_id: ThreadId | None,
        *,
        wishes: Wishes = NO_WISHES,
    ) -> RunTurn:
        """A new turn. Raises `NotAuthenticated`, `TenantSuspended` or `Unavailable`."""
        served = (await self.require_served(principal)).for_user(principal.subject_id)
        tenant = await self._personalities.of_tenant(served)
        turn = RunTurn(
            principal,
            replace(tenant, plan=wishes.narrowed(tenant.plan)),
            run_id,
            thread_id,
            self._orchestrator,
            self._components.begin(principal, run_id),
            wishes.priority,
        )
        self._open[run_id] = turn
        return turn

    async def wanted(self, principal: Principal, name: str, *, goes_on: bool) -> Wanted:
        """The assistant that a run asks for; raises `NotFound` for what can be none."""
        return await self._personalities.wanted(principal, name, goes_on=goes_on)

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
