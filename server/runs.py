"""The runner: opens a run and drives it to its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from traceback import extract_tb
from typing import Any
from uuid import uuid4

import structlog
from langchain_core.messages import HumanMessage
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StreamMode

from graph.notes import with_notes
from server.asides import Asides
from server.components import Components
from server.execution import Execution, LiveRun, RunRequest, replayed
from server.holding import Holdings, reason_of
from server.parts import Event, EventLog, Translator
from server.summaries import Summaries
from server.titles import Answered, Titles
from server.turns import RunTurns
from storage.checkpointer import TenantPostgresSaver
from storage.durability import durability_rules
from storage.ledger import PostgresLedger
from storage.threads import PostgresThreads, Replay
from tenancy.audit import AuditEvent, Outcome
from tenancy.errors import (
    Conflict,
    Failure,
    IsolationBreach,
    Refusal,
    TenantryError,
    Unavailable,
)
from tenancy.ids import RunId, ThreadId
from tenancy.principal import Principal
from tenancy.text import clean

log = structlog.get_logger()

CHECKPOINTS_KEPT = 1  # the latest has the whole conversation, and what an interrupt waits for
FRAMES = 8
DRAIN_SECONDS = 10.0
OPENING_SECONDS = 0.25

CompiledAgent = CompiledStateGraph[Any, Any, Any, Any]


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
        self._holdings = Holdings(threads, ledger, turns)
        self._components = components
        self._asides = asides
        self._titles = titles
        self._summaries = summaries
        self._tasks: dict[asyncio.Task[None], Execution] = {}

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
        self._holdings.close()

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

    async def _open(self, principal: Principal, request: RunRequest) -> Execution | LiveRun:
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
            return replayed(opened)
        turn.speak_as(opened.speaking, request.context)
        turn.record.keep = CHECKPOINTS_KEPT
        if turn.tenant.plan.memories:
            turn.memory = opened.memory
        saver = self._saver.for_run(opened, self._rules, turn.record)
        cleared: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        live = LiveRun(run_id, thread_id, EventLog(), degraded=turn.degraded)
        execution = Execution(request, opened, turn, saver, live, cleared)
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
            attributes=reason_of(refusal),
        )
        with suppress(Unavailable):
            await self._ledger.record(principal.tenant_id, audit=[event])

    async def _execute(self, execution: Execution) -> None:
        """The body of the run's own task: it never raises, what happened is in its events."""
        structlog.contextvars.bind_contextvars(
            tenant_id=execution.lease.tenant_id,
            run_id=str(execution.lease.run_id),
            thread_id=str(execution.lease.thread_id),
        )
        try:
            async with self._holdings.holding(execution):
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

    def _fail(self, execution: Execution, error: TenantryError) -> None:
        if execution.cleared.done():
            execution.live.error = error
            if isinstance(error, IsolationBreach):
                execution.live.events.forget()
            execution.live.events.end(Event.of_error(error))
        else:
            execution.cleared.set_exception(error)

    def _publish(self, execution: Execution) -> None:
        """The answer, once it is committed and the run holds nothing any more."""
        execution.live.events.end(Event("done", execution.live.answer or {}))

    def _look_back(self, execution: Execution) -> None:
        """Begin what an answered run gives occasion to: a better title, a longer summary."""
        turn, live = execution.turn, execution.live
        self._summaries.after(turn.tenant, turn.principal, live.thread_id)
        if execution.request.message and execution.final and not execution.interrupt:
            question, answer = turn.record.said
            self._titles.after(
                turn.tenant,
                Answered(turn.principal, live.thread_id, question, answer, turn.record.title),
            )

    async def _stream(self, execution: Execution) -> None:
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
            execution.config,
            context={"assistant": execution.request.assistant},
            stream_mode=modes,
            version="v2",
            durability="sync",
        ):
            for event in translator.events(part):
                execution.live.events.add(event)
        execution.final = translator.answers
        execution.interrupt = translator.interrupt

    async def _input(self, execution: Execution) -> Any:
        request = execution.request
        if request.resume is not None:
            await self._require_waiting(execution)
            return Command(resume=dict(request.resume))
        text = clean(request.message or "")
        execution.turn.record.title = self._titles.from_message(execution.turn.tenant, text)
        execution.turn.record.said.append(text)
        message = HumanMessage(text, id=str(execution.lease.run_id))
        return {"messages": [with_notes(message)]}

    async def _require_waiting(self, execution: Execution) -> None:
        memory = await execution.saver.aget_tuple(execution.config)
        writes = (memory.pending_writes if memory else None) or []
        if not any(channel == "__interrupt__" for _, channel, _ in writes):
            raise Conflict("The thread waits for no decision.")


def _where(error: BaseException) -> list[str]:
    """The way to the fault, without its text: that may quote what a tenant said."""
    frames = extract_tb(error.__traceback__)[-FRAMES:]
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
