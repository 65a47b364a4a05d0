"""What a run holds (lease, slot, reservation), and how it lets go on every way out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from server.breaches import report
from server.execution import Execution
from server.turns import RunTurn, RunTurns
from storage.ledger import PostgresLedger
from storage.threads import RENEW_SECONDS, PostgresThreads
from storage.turn import Ending
from tenancy.audit import Outcome
from tenancy.errors import (
    IsolationBreach,
    LeaseLost,
    Overloaded,
    QuotaExceeded,
    Refusal,
    Unavailable,
)

log = structlog.get_logger()

RELEASE_AGAIN_SECONDS = 1.0
RELEASE_TRIES = 10  # with the time each takes, as long as a slot lives by itself


class Holdings:
    """Renews what the runs of this process hold, and gives it back when they end."""

    def __init__(self, threads: PostgresThreads, ledger: PostgresLedger, turns: RunTurns) -> None:
        self._threads = threads
        self._ledger = ledger
        self._turns = turns
        self._releases: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Wait for no release any longer."""
        for release in self._releases:
            release.cancel()

    @asynccontextmanager
    async def holding(self, execution: Execution) -> AsyncIterator[None]:
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

    async def _renew(self, execution: Execution, run: asyncio.Task[Any] | None) -> None:
        """Keep lease and slot; a run that lost its lease stops."""
        lease = execution.lease
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(Unavailable):
                if not await self._threads.renew(lease) and run is not None:
                    log.error("lease_lost")
                    run.cancel()
                await execution.turn.renew()

    async def _finish(self, execution: Execution, status: str) -> None:
        """The run's last commit."""
        turn = execution.turn
        execution.live.answer = answer = execution.answer()
        turn.record.ending = Ending(status, turn.tokens, answer)
        turn.record.said.append(answer["answer"])
        await execution.saver.flush()
        log.info("run_finished", status=status, tokens=turn.tokens.total)

    async def _give_up(self, execution: Execution, error: BaseException) -> None:
        """Refused, or in vain waiting for the model, it leaves an audit record; else its state."""
        if isinstance(error, IsolationBreach):
            return await self._quarantine(execution, error)
        turn, name = execution.turn, type(error).__name__
        outcome = Outcome.REFUSED if isinstance(error, Refusal) else Outcome.FAILED
        with suppress(Unavailable, LeaseLost):
            if not turn.admitted or (isinstance(error, Overloaded) and not turn.cleared):
                execution.saver.drop()
                turn.record.take()
                event = turn.event("run.start", "", outcome, **reason_of(error))
                await self._threads.discard_run(execution.lease, event)
                log.info("run_refused", reason=name)
                return
            await turn.clear()
            cancelled = isinstance(error, asyncio.CancelledError)
            turn.did("run.finish", "", outcome, reason=name)
            turn.record.ending = Ending("cancelled" if cancelled else "error", turn.tokens)
            await execution.saver.flush()
            log.warning("run_failed", reason=name)

    async def _quarantine(self, execution: Execution, breach: IsolationBreach) -> None:
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


def reason_of(error: BaseException) -> dict[str, Any]:
    """Why a run was refused: the kind of refusal, and the limit where one refused."""
    limit = {"limit": error.meter} if isinstance(error, QuotaExceeded) else {}
    return {"reason": type(error).__name__, **limit}
