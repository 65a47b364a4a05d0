"""Model calls beside the runs: held and billed as any other."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import structlog

from server.breaches import report
from server.turns import RunTurn, RunTurns
from storage.ledger import PostgresLedger
from tenancy.errors import IsolationBreach, TenantryError, Unavailable
from tenancy.fairness import Priority
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.principal import Principal
from tenancy.wishes import Wishes

log = structlog.get_logger()

MOST_AT_ONCE = 100  # more are not begun: what they are for is a convenience
MOST_OF_TENANT = 25  # whose model hangs takes nobody else's
IN_THE_BACKGROUND = Wishes(priority=Priority.BACKGROUND)


class Asides:
    """What goes on beside the runs of this process, best effort: it is logged and not raised."""

    def __init__(self, turns: RunTurns, ledger: PostgresLedger) -> None:
        self._turns = turns
        self._ledger = ledger
        self._tasks: dict[asyncio.Task[None], TenantId] = {}

    def begin(self, tenant_id: TenantId, work: Coroutine[Any, Any, None]) -> None:
        """Do it in a task of its own, unless there are too many, or too many of the tenant."""
        own = sum(each == tenant_id for each in self._tasks.values())
        if len(self._tasks) >= MOST_AT_ONCE or own >= MOST_OF_TENANT:
            return work.close()
        task = asyncio.create_task(self._do(work))
        self._tasks[task] = tenant_id
        task.add_done_callback(self._tasks.pop)

    async def drain(self, patience_seconds: float) -> None:
        """Wait for what is going on, so long."""
        if self._tasks:
            _, late = await asyncio.wait([*self._tasks], timeout=patience_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _do(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except IsolationBreach as breach:
            report(breach)
        except TenantryError as error:
            log.info("aside_failed", reason=type(error).__name__)

    @asynccontextmanager
    async def turn(
        self,
        principal: Principal,
        thread_id: ThreadId | None = None,
        *,
        wishes: Wishes = IN_THE_BACKGROUND,
    ) -> AsyncIterator[RunTurn]:
        """A turn that is no run: it takes no request and no slot of the plan, and is billed.

        Raises a `Refusal` or `Unavailable` where it may not begin.
        """
        run_id = RunId(uuid4())
        turn = await self._turns.open(principal, run_id, thread_id, wishes=wishes)
        try:
            turn.enter_early()
            yield turn
        finally:
            self._turns.close(run_id)
            await asyncio.shield(self._settle(turn))

    async def _settle(self, turn: RunTurn) -> None:
        """Nothing is settled that no ledger has: unbilled, its hold is charged in full."""
        try:
            await self._ledger.record(
                turn.tenant.tenant_id, usage=turn.record.usage, audit=turn.record.audit
            )
        except Unavailable:
            log.error("bill_postponed", tokens=turn.tokens.total)
            return turn.leave()
        await turn.release()
