"""One run of a client's: what was asked, what goes on, and what came of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig

from graph.identity import USER_KEY, VerifiedUser
from graph.notes import notes_of, searched_for
from server.parts import Event, EventLog, opening, retold
from server.turns import RunTurn
from storage.checkpointer import TenantPostgresSaver
from storage.threads import Idempotency, Replay
from storage.turn import Lease
from tenancy.assistant import DEFAULT
from tenancy.errors import Failure, TenantryError
from tenancy.ids import RunId, ThreadId
from tenancy.quota import Standing
from tenancy.wishes import NO_WISHES, Wishes

NODES_BEFORE = 8  # and after the model calls, each of which may bring a step of tools


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
class Execution:
    """A run that was opened, until it lets go of everything."""

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

    @property
    def config(self) -> RunnableConfig:
        """What LangGraph is to know of the run."""
        return {
            "run_id": self.lease.run_id,
            "recursion_limit": NODES_BEFORE + 2 * self.turn.tenant.plan.steps_per_run,
            "configurable": {
                "thread_id": str(self.lease.thread_id),
                USER_KEY: VerifiedUser(self.turn.principal),
            },
        }

    def answer(self) -> dict[str, Any]:
        """The JSON answer of CONTRACT: of an interrupted run, with what it waits for."""
        last = self.final[-1] if self.final else AIMessage("")
        notes, tokens = notes_of(last), self.turn.tokens
        answer = {
            "run_id": str(self.lease.run_id),
            "thread_id": str(self.lease.thread_id),
            "answer": last.text,
            "citations": notes.get("citations", []),
            "usage": {"input_tokens": tokens.input_tokens, "output_tokens": tokens.output_tokens},
            "model": notes.get("model", ""),
        }
        answer |= searched_for(notes) | self.turn.chosen.mention()
        if self.turn.degraded:
            answer["degraded"] = list(self.turn.degraded)
        if self.interrupt is not None:
            answer["interrupt"] = dict(self.interrupt)
        return answer


def replayed(replay: Replay) -> LiveRun:
    """The answer of the request's first time, as it was."""
    answer = dict(replay.result)
    run_id, thread_id = RunId(answer["run_id"]), ThreadId(answer["thread_id"])
    live = LiveRun(run_id, thread_id, EventLog(), answer=answer)
    for event in retold(answer):
        live.events.add(event)
    live.events.end(Event("done", answer))
    return live
