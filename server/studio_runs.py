"""The runs of Studio: each lets go of what it holds and commits what it did, however it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog

from server.breaches import report
from server.turns import RunTurn, RunTurns
from storage.ledger import PostgresLedger
from storage.threads import RENEW_SECONDS
from tenancy.audit import Outcome
from tenancy.errors import IsolationBreach, Refusal, Unavailable
from tenancy.ids import RunId

log = structlog.get_logger()

DRAIN_SECONDS = 5.0  # what LangGraph's own queue allows
SETTLE_SECONDS = 0.5  # for LangGraph to write down that a run failed, or it would repeat it


class StudioRuns:
    """Owns what the runs in flight hold; their threads and checkpoints are LangGraph's."""

    def __init__(self, turns: RunTurns, ledger: PostgresLedger) -> None:
        self._turns = turns
        self._ledger = ledger
        self._live: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def holding(self, run_id: RunId) -> AsyncIterator[None]:
        """Renew what the run holds while the block runs, and let go of it afterwards.

        A cancelled run fails with `Unavailable`: LangGraph would repeat it under the same id, and
        what the repetition used would count as recorded already.
        """
        heartbeat = asyncio.create_task(self._renew(run_id))
        run = asyncio.current_task()
        self._live |= {run} if run else set()
        try:
            yield
            await asyncio.shield(self._end(run_id, None))
        except BaseException as error:
            await asyncio.shield(self._end(run_id, error))
            if isinstance(error, asyncio.CancelledError):
                raise Unavailable("The service is shutting down.") from None
            raise
        finally:
            heartbeat.cancel()
            self._live -= {run} if run else set()

    async def drain(self) -> None:
        """End the runs in flight; their threads keep what the last step left."""
        for run in self._live:
            run.cancel()
        if self._live:
            await asyncio.wait(self._live, timeout=DRAIN_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)

    async def _renew(self, run_id: RunId) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if turn := self._turns.find(run_id):
                with suppress(Unavailable):
                    await turn.renew()

    async def _end(self, run_id: RunId, error: BaseException | None) -> None:
        turn = self._turns.close(run_id)
        if turn is None:  # it entered no node: there is nothing that it did or holds
            return
        if error is not None:
            _note_failure(turn, error)
        done, tenant_id = turn.record.take(), turn.tenant.tenant_id
        try:
            await self._ledger.record(tenant_id, usage=done.usage, audit=done.audit)
        finally:
            await turn.release()


def _note_failure(turn: RunTurn, error: BaseException) -> None:
    if isinstance(error, IsolationBreach):
        turn.breached(error)
        report(error)
    reason = type(error).__name__
    outcome = Outcome.REFUSED if isinstance(error, Refusal) else Outcome.FAILED
    turn.did("run.finish" if turn.admitted else "run.start", "", outcome, reason=reason)
    log.warning("run_failed", reason=reason, admitted=turn.admitted)
