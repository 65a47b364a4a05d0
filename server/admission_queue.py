"""The ladder's step `queue`: a run waits for a limit to give room instead of being refused."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tenancy.ids import TenantId
from tenancy.plan import Plan, Step
from tenancy.quota import Verdict

ASK_AGAIN_SECONDS = 1.0  # nobody tells of room that was made in another process
PAUSE_SECONDS = 0.02  # between two questions, whatever the verdict says

Ask = Callable[[], Awaitable[Verdict]]


@dataclass(slots=True, eq=False)
class _Line:
    """The runs of one tenant that one limit refused. Who has the turn is the first of them."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # which is fair
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    length: int = 0


class AdmissionQueue:
    """Asks again for runs that were refused, in the order in which they came.

    Each limit has a line of its own: who waits for a budget is in nobody's way who waits for a run
    to end. Only the first of a line asks. Waiting never cuts an admission short.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or _loop_time
        self._lines: dict[TenantId, dict[str, _Line]] = {}

    async def admitted(self, tenant_id: TenantId, plan: Plan, ask: Ask) -> tuple[Verdict, bool]:
        """The verdict, and whether the run waited for it, at most the plan's `queue_seconds`.

        It waits where the plan says so, where its queue is not full, and where there may be room
        in time; for a run to end it waits whatever is expected of it.
        """
        deadline = self._clock() + plan.queue_seconds
        verdict = await ask()
        if verdict.refused_by is None or not self._may_wait(tenant_id, plan):
            return verdict, False
        if not self._in_time(verdict, deadline):
            return verdict, False
        lines = self._lines.setdefault(tenant_id, {})
        line = lines.setdefault(verdict.refused_by, _Line())
        line.length += 1
        try:
            return await self._wait(line, verdict, ask, deadline), True
        finally:
            line.length -= 1
            self._tidy(tenant_id)

    def freed(self, tenant_id: TenantId) -> None:
        """A run of the tenant ended: whoever is first asks again."""
        for line in self._lines.get(tenant_id, {}).values():
            line.freed.set()

    def waiting(self, tenant_id: TenantId) -> int:
        """How many runs of the tenant wait."""
        return sum(line.length for line in self._lines.get(tenant_id, {}).values())

    async def _wait(self, line: _Line, verdict: Verdict, ask: Ask, deadline: float) -> Verdict:
        first = not line.turn.locked()
        if not await _within(deadline - self._clock(), line.turn.acquire()):
            return await ask()  # the last word, which knows best when to come back
        try:
            if not first:
                verdict = await _ask(line, ask)
            while not verdict.admitted and self._in_time(verdict, deadline):
                pause = min(_pause_seconds(verdict), deadline - self._clock())
                await _within(pause, line.freed.wait())
                verdict = await _ask(line, ask)
            return verdict
        finally:
            line.turn.release()

    def _may_wait(self, tenant_id: TenantId, plan: Plan) -> bool:
        return Step.QUEUE in plan.degrade and self.waiting(tenant_id) < plan.queue_length

    def _in_time(self, verdict: Verdict, deadline: float) -> bool:
        seconds = 0.0 if verdict.is_estimate else verdict.retry_after.total_seconds()
        return self._clock() + seconds < deadline

    def _tidy(self, tenant_id: TenantId) -> None:
        lines = self._lines[tenant_id]
        for limit in [limit for limit, line in lines.items() if not line.length]:
            del lines[limit]
        if not lines:
            del self._lines[tenant_id]


async def _ask(line: _Line, ask: Ask) -> Verdict:
    line.freed.clear()  # before: what is freed meanwhile is asked for again
    return await ask()


def _pause_seconds(verdict: Verdict) -> float:
    return max(PAUSE_SECONDS, min(verdict.retry_after.total_seconds(), ASK_AGAIN_SECONDS))


async def _within(seconds: float, event: Coroutine[Any, Any, bool]) -> bool:
    """Whether it came in time."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            return await event
    except TimeoutError:
        return False


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
