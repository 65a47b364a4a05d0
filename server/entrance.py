"""Where the graph's nodes enter their run, and where what they call finds it again."""

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from server.turns import RunTurn, RunTurns
from tenancy.errors import NotAuthenticated
from tenancy.ids import RunId, SubjectId, TenantId, ThreadId
from tenancy.memory import Recall
from tenancy.principal import Principal

NO_RUN = "There is no run here."


class Remembered(Protocol):
    """Knows what is remembered. Raises `Unavailable`."""

    async def recall_of(self, tenant_id: TenantId, subject_id: SubjectId) -> Recall:
        """What a run may know of this person's memory."""
        ...


@dataclass(frozen=True, slots=True)
class AtWork:
    """A run, and the event loop on which it lives."""

    turn: RunTurn
    loop: asyncio.AbstractEventLoop


_at_work: ContextVar[AtWork | None] = ContextVar("at_work", default=None)


class Entrance:
    """Implements the port `Turns` of the graph.

    Tools, their threads and graphs within them inherit the run of the node that called them.
    """

    def __init__(self, turns: RunTurns, remembered: Remembered) -> None:
        self._turns = turns
        self._remembered = remembered

    async def enter(
        self, principal: Principal, run_id: RunId, thread_id: ThreadId | None
    ) -> RunTurn:
        """The turn of this run; one that nobody opened, as in Studio, asks for its memory itself.

        Raises `TenantSuspended`, `NotAuthenticated` or `Unavailable`.
        """
        is_new = self._turns.find(run_id) is None
        turn = await self._turns.enter(principal, run_id, thread_id)
        if is_new and turn.tenant.plan.memories:
            turn.memory = await self._remembered.recall_of(
                principal.tenant_id, principal.subject_id
            )
        _at_work.set(AtWork(turn, asyncio.get_running_loop()))
        return turn

    def at_work(self) -> AtWork:
        """The run of the node at work; raises `NotAuthenticated` where there is none any more."""
        found = _at_work.get()
        if found is None or self._turns.find(found.turn.run_id) is not found.turn:
            raise NotAuthenticated(NO_RUN)
        return found
