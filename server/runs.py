"""The runner: opens a run, owns what it holds, and lets go of it on every way out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from traceback import extract_tb
from typing import Any
from uuid import uuid4

import orjson
import structlog
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StreamMode

from graph.identity import USER_KEY, VerifiedUser
from graph.notes import notes_of, with_notes
from server.asides import Asides
from server.breaches import report
from server.components import Components
from server.parts import Event, EventLog, Translator, opening, retold
from server.summaries import Summaries
from server.titles import Answered, Titles
from server.turns import RunTurn, RunTurns
from storage.checkpointer import TenantPostgresSaver
from storage.durability import durability_rules
from storage.ledger import PostgresLedger
from storage.threads import RENEW_SECONDS, Idempotency, PostgresThreads, Replay
from storage.turn import Ending, Lease
from tenancy.assistant import DEFAULT
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import (
    Conflict,
    Failure,
    IsolationBreach,
    LeaseLost,
    Overloaded,
    QuotaExceeded,
    Refusal,
    TenantryError,
    Unavailable,
)
from tenancy.ids import RunId, ThreadId
from tenancy.principal import Principal
from tenancy.quota import Standing
from tenancy.text import clean
from tenancy.wishes import NO_WISHES, Wishes

log = structlog.get_logger()

CHECKPOINTS_KEPT = 1  # the latest has the whole conversation, and what an interrupt waits for
FRAMES = 8
DRAIN_SECONDS = 10.0
OPENING_SECONDS = 0.25
RELEASE_AGAIN_SECONDS = 1.0
RELEASE_TRIES = 10  # with the time each takes, as long as a slot lives by itself
NODES_BEFORE = 8  # and after the model calls, each of which may bring a step of tools

CompiledAgent = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a client asked for: a message, or the answer to an interrupt."""

    message: str | None
    thread_id: ThreadId | None = None
    assistant: str = DEFAULT
    context: Mapping[str, Any] = field(default_factory=dict)
    resume: Mapping[str, Any] | None = None
    stream: bool = False
    idempotency_key: str | None = None
    wishes: Wishes = NO_WISHES

    @property
    def may_be_refused_unopened(self) -> bool:
        """Whether opening it can find nothing else to refuse or to repeat."""
        return self.thread_id is None and self.idempotency_key is None

    def idempotency(self) -> Idempotency | None:
        """The key with a digest of everything that makes the request what it is."""
        if self.idempotency_key is None:
            return None
        parts = [self.message, self.thread_id, self.assistant, self.resume]
        if self.context:  # not always: keys of before keep their meaning
            parts.append(self.context)
        return Idempotency(self.idempotency_key, sha256(orjson.dumps(parts)).digest())


@dataclass(slots=True)
class LiveRun:
    """A run that got to the model: its events as they come, its answer when it is there."""

    run_id: RunId
    thread_id: ThreadId
    events: EventLog
    standings: tuple[Standing, ...] = ()
    answer: Mapping[str, Any] | None = None
    error: TenantryError | None = None
    degraded: list[str] = field(default_factory=list)

    async def result(self) -> Mapping[str, Any]:
        """The JSON answer, once it is committed; raises what the run failed with."""
        await self.events.ended.wait()
        if self.error is not None or self.answer is None:
            raise self.error or Failure("The run failed.")
        return self.answer


@dataclass(slots=True)
class _Execution:
    request: RunRequest
    lease: Lease
    turn: RunTurn
    saver: TenantPostgresSaver
    live: LiveRun
    cleared: asyncio.Future[None]
    interrupt: Mapping[str, Any] | None = None
    final: list[AIMessage] = field(default_factory=list)
    stopped: TenantryError | None = None

    async def clear(self) -> None:
        """The run got through to the model: it is remembered, and its client is answered."""
        await self.saver.admit()
        self.live.events.add(opening(self.live.run_id, self.live.thread_id))
        self.cleared.set_result(None)
        if self.turn.degraded:
            self.degrade(self.turn.degraded)

    def degrade(self, steps: Sequence[str]) -> None:
        """Tell a client that reads along; before the first event it reads it in a header."""
        if self.cleared.done():
            self.live.events.add(Event("degraded", {"steps": list(steps)}))


class Runner:
    """Runs the agent for our own server."""

    def __init__(
        self,
        agent: CompiledAgent,
        *,
        saver: TenantPostgresSaver,
        threads: PostgresThreads,
        ledger: PostgresLedger,
        turns: RunTurns,
        components: Components,
        asides: Asides,
        titles: Titles,
        summaries: Summaries,
    ) -> None:
        self._agent = agent
        self._rules = durability_rules(agent)
        self._saver = saver
        self._threads = threads
        self._ledger = ledger
        self._turns = turns
        self._components = components
        self._asides = asides
        self._titles = titles
        self._summaries = summaries
        self._tasks: dict[asyncio.Task[None], _Execution] = {}
        self._releases: set[asyncio.Task[None]] = set()

    async def start(self, principal: Principal, request: RunRequest) -> LiveRun:
        """Open a run and advance it past admission, to the model.

        Raises a `Refusal` or `Failure` from before the model call: nothing of it is in the thread.
        A client that goes away does not stop the run: its answer will be in the thread.
        """
        try:
            opened = await self._open(principal, request)
        except Refusal as refusal:
            await self._note_refusal(principal, request, refusal)
            raise
        if isinstance(opened, LiveRun):
            return opened
        task = asyncio.create_task(self._execute(opened))
        self._tasks[task] = opened
        task.add_done_callback(self._tasks.pop)
        await asyncio.shield(opened.cleared)
        opened.live.standings = opened.turn.standings
        return opened.live

    async def drain(self) -> None:
        """Wait for the runs in flight; those that take too long are cancelled, their state kept."""
        if self._tasks:
            _, late = await asyncio.wait([*self._tasks], timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._asides.drain(DRAIN_SECONDS)
        for release in self._releases:
            release.cancel()

    async def stop_revoked(self, changed: Callable[[int], Awaitable[int]]) -> None:
        """Stop runs whose tenant or credential no longer holds, until cancelled.

        `changed` returns when control data may differ from a generation, with the next one.
        """
        seen = 0
        while True:
            seen = await changed(seen)
            await self._stop_revoked()
            known = False
            while not known:
                await asyncio.sleep(OPENING_SECONDS)  # a run that was being opened meanwhile
                known = await self._stop_revoked()

    async def _stop_revoked(self) -> bool:
        """Whether it is known of each run that it may go on."""
        known = True
        for task, execution in [*self._tasks.items()]:
            try:
                await self._turns.require_served(execution.turn.principal)
            except Refusal as refusal:
                if execution.stopped is None:
                    execution.stopped = refusal
                    task.cancel()
            except Unavailable:
                known = False
        return known

    async def _open(self, principal: Principal, request: RunRequest) -> "_Execution | LiveRun":
        run_id = RunId(uuid4())
        thread_id = request.thread_id or ThreadId(uuid4())
        turn = await self._turns.open(principal, run_id, thread_id, wishes=request.wishes)
        try:
            if request.may_be_refused_unopened:
                turn.enter_early()
            wanted = await self._turns.wanted(
                principal, request.assistant, goes_on=request.resume is not None
            )
            opened = await self._threads.open_run(
                principal,
                run_id=run_id,
                thread_id=thread_id,
                new_thread=request.thread_id is None,
                idempotency=request.idempotency(),
                wanted=wanted,
            )
        except BaseException:
            turn.leave()
            self._turns.close(run_id)
            raise
        if isinstance(opened, Replay):
            self._turns.close(run_id)
            return _replayed(opened)
        turn.speak_as(opened.speaking, request.context)
        turn.record.keep = CHECKPOINTS_KEPT
        if turn.tenant.plan.memories:
            turn.memory = opened.memory
        saver = self._saver.for_run(opened, self._rules, turn.record)
        cleared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live = LiveRun(run_id, thread_id, EventLog(), degraded=turn.degraded)
        execution = _Execution(request, opened, turn, saver, live, cleared)
        turn.when_cleared = execution.clear
        turn.when_degraded = execution.degrade
        return execution

    async def _note_refusal(
        self, principal: Principal, request: RunRequest, refusal: Refusal
    ) -> None:
        """One record of a run that was refused before it was opened; no failure of its own."""
        event = AuditEvent(
            event_id=uuid4(),
            actor=str(self._components.at_server(principal)),
            subject_id=principal.subject_id,
            action="run.start",
            resource="",
            outcome=Outcome.REFUSED,
            created_at=datetime.now(UTC),
            thread_id=request.thread_id,
            attributes=_reason(refusal),
        )
        with suppress(Unavailable):
            await self._ledger.record(principal.tenant_id, audit=[event])

    async def _execute(self, execution: _Execution) -> None:
        """The body of the run's own task: it never raises, what happened is in its events."""
        structlog.contextvars.bind_contextvars(
            tenant_id=execution.lease.tenant_id,
            run_id=str(execution.lease.run_id),
            thread_id=str(execution.lease.thread_id),
        )
        try:
            async with self._holding(execution):
                await self._stream(execution)
            self._publish(execution)
            self._look_back(execution)
        except TenantryError as error:
            self._fail(execution, error)
        except asyncio.CancelledError:
            stopped = execution.stopped or Unavailable("The service is shutting down.")
            self._fail(execution, stopped)
        except Exception as error:  # the stream boundary: every run ends in one event
            log.error("run_broke", error=type(error).__name__, where=_where(error))
            self._fail(execution, Failure("The run failed."))

    def _fail(self, execution: _Execution, error: TenantryError) -> None:
        if execution.cleared.done():
            execution.live.error = error
            if isinstance(error, IsolationBreach):
                execution.live.events.forget()
            execution.live.events.end(Event.of_error(error))
        else:
            execution.cleared.set_exception(error)

    @asynccontextmanager
    async def _holding(self, execution: _Execution) -> AsyncIterator[None]:
        """Lease, slot and reservation: renewed while the run lives, let go of when it ends."""
        heartbeat = asyncio.create_task(self._renew(execution, asyncio.current_task()))
        try:
            yield
            await execution.turn.clear()
            await self._finish(execution, "interrupted" if execution.interrupt else "success")
        except BaseException as error:
            await asyncio.shield(self._give_up(execution, error))
            raise
        finally:
            heartbeat.cancel()
            self._turns.close(execution.lease.run_id)
            await self._release(execution.turn)

    async def _release(self, turn: RunTurn) -> None:
        """Nobody waits for the release of what was perhaps never taken: Redis may be silent.

        Nor for a bill that its last commit did not write.
        """
        is_billed = not turn.record.usage
        release = asyncio.create_task(
            self._let_go(turn) if turn.admitted else self._take_back(turn)
        )
        self._releases.add(release)
        release.add_done_callback(self._releases.discard)
        if turn.admitted and is_billed:
            await asyncio.shield(release)

    async def _let_go(self, turn: RunTurn) -> None:
        """Nothing is settled that no ledger has: unbilled, its holds are charged in full."""
        if await self._bill(turn):
            return await turn.release()
        log.error("bill_postponed", tokens=turn.tokens.total)
        turn.leave()

    async def _bill(self, turn: RunTurn) -> bool:
        """Record what no commit of the run did: Postgres was away, or the lease was another's."""
        for _ in range(RELEASE_TRIES):
            if not turn.record.usage:
                return True
            with suppress(Unavailable):
                await self._ledger.record(turn.tenant.tenant_id, usage=turn.record.usage)
                return True
            await asyncio.sleep(RELEASE_AGAIN_SECONDS)
        return False

    async def _take_back(self, turn: RunTurn) -> None:
        """An admission whose answer was lost took its slot, or takes it when Redis is back."""
        for _ in range(RELEASE_TRIES):
            try:
                return await turn.take_back()
            except Unavailable:
                await asyncio.sleep(RELEASE_AGAIN_SECONDS)

    async def _renew(self, execution: _Execution, run: asyncio.Task[Any] | None) -> None:
        """Keep lease and slot; a run that lost its lease stops."""
        lease = execution.lease
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(Unavailable):
                if not await self._threads.renew(lease) and run is not None:
                    log.error("lease_lost")
                    run.cancel()
                await execution.turn.renew()

    async def _finish(self, execution: _Execution, status: str) -> None:
        """The run's last commit."""
        turn = execution.turn
        execution.live.answer = answer = _answer(execution)
        turn.record.ending = Ending(status, turn.tokens, answer)
        turn.record.said.append(answer["answer"])
        await execution.saver.flush()
        log.info("run_finished", status=status, tokens=turn.tokens.total)

    def _publish(self, execution: _Execution) -> None:
        """The answer, once it is committed and the run holds nothing any more."""
        execution.live.events.end(Event("done", execution.live.answer or {}))

    def _look_back(self, execution: _Execution) -> None:
        """Begin what an answered run gives occasion to: a better title, a longer summary."""
        turn, live = execution.turn, execution.live
        self._summaries.after(turn.tenant, turn.principal, live.thread_id)
        if execution.request.message and execution.final and not execution.interrupt:
            question, answer = turn.record.said
            self._titles.after(
                turn.tenant,
                Answered(turn.principal, live.thread_id, question, answer, turn.record.title),
            )

    async def _give_up(self, execution: _Execution, error: BaseException) -> None:
        """Refused, or in vain waiting for the model, it leaves an audit record; else its state."""
        if isinstance(error, IsolationBreach):
            return await self._quarantine(execution, error)
        turn, name = execution.turn, type(error).__name__
        outcome = Outcome.REFUSED if isinstance(error, Refusal) else Outcome.FAILED
        with suppress(Unavailable, LeaseLost):
            if not turn.admitted or (isinstance(error, Overloaded) and not turn.cleared):
                execution.saver.drop()
                turn.record.take()
                event = turn.event("run.start", "", outcome, **_reason(error))
                await self._threads.discard_run(execution.lease, event)
                log.info("run_refused", reason=name)
                return
            await turn.clear()
            cancelled = isinstance(error, asyncio.CancelledError)
            turn.did("run.finish", "", outcome, reason=name)
            turn.record.ending = Ending("cancelled" if cancelled else "error", turn.tokens)
            await execution.saver.flush()
            log.warning("run_failed", reason=name)

    async def _quarantine(self, execution: _Execution, breach: IsolationBreach) -> None:
        """Nothing of the run stays but usage and audit; its thread waits for an operator.

        Tried for a while when Postgres is away, with the thread's lease still held.
        """
        execution.saver.drop()
        execution.turn.breached(breach)
        report(breach)
        record = execution.turn.record.take()
        record.ending = Ending("error", execution.turn.tokens)
        for _ in range(RELEASE_TRIES):
            try:
                return await self._threads.quarantine(execution.lease, record)
            except Unavailable:
                await asyncio.sleep(RELEASE_AGAIN_SECONDS)
        log.critical("quarantine_failed")

    async def _stream(self, execution: _Execution) -> None:
        """Drive the graph; what it emits becomes events as soon as the run got to the model."""
        lease, turn = execution.lease, execution.turn
        if not lease.new_thread:
            turn.summary = await self._summaries.of(turn.tenant, lease.thread_id)
        agent = self._agent.copy(update={"checkpointer": execution.saver})
        translator = Translator(turn.citable)
        modes: list[StreamMode] = ["updates"]
        if execution.request.stream:
            modes.append("messages")
        async for part in agent.astream(
            await self._input(execution),
            _config(execution),
            context={"assistant": execution.request.assistant},
            stream_mode=modes,
            version="v2",
            durability="sync",
        ):
            for event in translator.events(part):
                execution.live.events.add(event)
        execution.final = translator.answers
        execution.interrupt = translator.interrupt

    async def _input(self, execution: _Execution) -> Any:
        request = execution.request
        if request.resume is not None:
            await self._require_waiting(execution)
            return Command(resume=dict(request.resume))
        text = clean(request.message or "")
        execution.turn.record.title = self._titles.from_message(execution.turn.tenant, text)
        execution.turn.record.said.append(text)
        message = HumanMessage(text, id=str(execution.lease.run_id))
        return {"messages": [with_notes(message)]}

    async def _require_waiting(self, execution: _Execution) -> None:
        config: RunnableConfig = {"configurable": {"thread_id": str(execution.lease.thread_id)}}
        memory = await execution.saver.aget_tuple(config)
        writes = (memory.pending_writes if memory else None) or []
        if not any(channel == "__interrupt__" for _, channel, _ in writes):
            raise Conflict("The thread waits for no decision.")


def _reason(error: BaseException) -> dict[str, Any]:
    """Why a run was refused: the kind of refusal, and the limit where one refused."""
    limit = {"limit": error.meter} if isinstance(error, QuotaExceeded) else {}
    return {"reason": type(error).__name__, **limit}


def _config(execution: _Execution) -> RunnableConfig:
    return {
        "run_id": execution.lease.run_id,
        "recursion_limit": NODES_BEFORE + 2 * execution.turn.tenant.plan.steps_per_run,
        "configurable": {
            "thread_id": str(execution.lease.thread_id),
            USER_KEY: VerifiedUser(execution.turn.principal),
        },
    }


def _answer(execution: _Execution) -> dict[str, Any]:
    """The JSON answer of CONTRACT: of an interrupted run, with what it waits for."""
    last = execution.final[-1] if execution.final else AIMessage("")
    notes, tokens = notes_of(last), execution.turn.tokens
    answer = {
        "run_id": str(execution.lease.run_id),
        "thread_id": str(execution.lease.thread_id),
        "answer": last.text,
        "citations": notes.get("citations", []),
        "usage": {"input_tokens": tokens.input_tokens, "output_tokens": tokens.output_tokens},
        "model": notes.get("model", ""),
    }
    answer |= execution.turn.chosen.mention()
    if execution.turn.degraded:
        answer["degraded"] = list(execution.turn.degraded)
    if execution.interrupt is not None:
        answer["interrupt"] = dict(execution.interrupt)
    return answer


def _where(error: BaseException) -> list[str]:
    """The way to the fault, without its text: that may quote what a tenant said."""
    frames = extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]


def _replayed(replay: Replay) -> LiveRun:
    """The answer of the request's first time, as it was."""
    answer = dict(replay.result)
    run_id, thread_id = RunId(answer["run_id"]), ThreadId(answer["thread_id"])
    live = LiveRun(run_id, thread_id, EventLog(), answer=answer)
    for event in retold(answer):
        live.events.add(event)
    live.events.end(Event("done", answer))
    return live
