"""A tenant's queue in front of the model, a run's place in it, and a call's slot at an endpoint."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from server.endpoint_slots import FIRST_CALL_SECONDS, EndpointSlots
from tenancy.errors import Overloaded
from tenancy.fairness import Line, Priority, Stage
from tenancy.plan import Plan

LEAST_RETRY_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class TenantQueue:
    """One tenant in one process: its line, its runs that are about to wait, its calls that do."""

    plan: Plan
    line: Line
    places: int = 0
    entered: int = 0  # places whose run has not asked for a slot yet
    waiting: int = 0
    in_flight: int = 0
    served: float = 0.0  # tokens
    endpoint: EndpointSlots | None = None  # the last that was asked
    _total: int = 0
    _elsewhere: int | None = None

    @property
    def length(self) -> int:
        """How many runs wait, or are about to."""
        return self.entered + self.waiting

    @property
    def is_full(self) -> bool:
        """Whether no other run may wait; never while all that do could have a slot at once."""
        return self.length >= max(self.plan.queue_length, self._at_once())

    @property
    def drain(self) -> timedelta:
        """About how long it takes until all that wait are served, or have given up."""
        rounds = max(1.0, self.length / max(1, self.in_flight))
        served, paused = FIRST_CALL_SECONDS * rounds, 0.0
        if self.endpoint is not None:
            served, paused = self.endpoint.calls.most(rounds), self.endpoint.paused_seconds
        given_up = min(served, self.plan.queue_seconds)
        return timedelta(seconds=max(LEAST_RETRY_SECONDS, paused, given_up))

    def elsewhere(self, total_served: int) -> int:
        """What other replicas served since the last look; nothing at the first."""
        others = total_served - round(self.served)
        known, starts_anew = self._elsewhere, total_served < self._total
        self._total = total_served
        if known is None or starts_anew:
            self._elsewhere = others
            return 0
        self._elsewhere = max(known, others)  # less, while what was served here is not settled
        return self._elsewhere - known

    def _at_once(self) -> int:
        free = 1 if self.endpoint is None else self.endpoint.free
        return free if self.line.room is None else min(free, self.line.room)


@dataclass(slots=True, eq=False)
class Place:
    """One run in its tenant's queue, from before its admission to its end."""

    queue: TenantQueue
    priority: Priority
    asked: bool = False
    served: bool = False  # it had a slot: its next call goes before runs that had none
    left: bool = False

    def ask(self) -> None:
        """The run wants a slot: it waits, and is no longer about to."""
        if not self.asked:
            self.asked = True
            self.queue.entered -= 1

    def leave(self) -> None:
        """Give the place back; a second time does nothing."""
        if not self.left:
            self.left = True
            self.queue.places -= 1
            self.ask()


class Slot(AbstractAsyncContextManager["Slot"]):
    """A slot for one call: waited for on the way in, free again on every way out.

    Entering it raises `Overloaded` after the plan's `queue_seconds`, or at once where the
    endpoint is to be left alone for longer.
    """

    def __init__(
        self,
        place: Place,
        endpoint: EndpointSlots,
        *,
        tokens: int,
        clock: Callable[[], float],
        ended: Callable[[], None],
    ) -> None:
        self._place = place
        self._queue = place.queue
        self._endpoint = endpoint
        self._tokens = tokens
        self._clock = clock
        self._ended = ended
        self._turn: asyncio.Future[None] | None = None
        self._since = 0.0
        self._told: int | None = None

    def served(self, tokens: int) -> None:
        """Say what the call took, or has taken so far; the last word counts."""
        self._queue.served += tokens - (self._told or 0)
        self._told = tokens
        self._call.account.correct(self._call, tokens)

    async def __aenter__(self) -> "Slot":
        """Wait for the tenant's turn."""
        self._place.ask()
        self._queue.waiting += 1
        self._queue.endpoint = self._endpoint
        self._call = self._endpoint.queue.push(
            self._queue.line,
            priority=self._place.priority,
            tokens=self._tokens,
            goes_on=self._place.served,
            granted=self._granted,
        )
        self._endpoint.pump()
        if self._call.stage is Stage.WAITING:
            await self._wait(self._queue.plan.queue_seconds)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free the slot."""
        self._endpoint.calls.learn(self._clock() - self._since)
        if self._told is None:
            self._queue.served += self._call.charged
        self._end()

    async def _wait(self, seconds: float) -> None:
        if self._endpoint.paused_seconds > seconds or seconds == 0:
            self._withdraw()
            raise self._busy()
        loop = asyncio.get_running_loop()
        self._turn = loop.create_future()
        timer = loop.call_later(seconds, self._expire, self._turn)
        try:
            await self._turn
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            timer.cancel()

    def _granted(self) -> None:
        self._since = self._clock()
        self._queue.waiting -= 1
        self._queue.in_flight += 1
        self._place.served = True
        if self._turn is not None and not self._turn.done():  # done: it is being cancelled
            self._turn.set_result(None)

    def _expire(self, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._withdraw()
            turn.set_exception(self._busy())

    def _give_up(self) -> None:
        """Cancelled while waiting, or just when its turn came: then the call took nothing."""
        if self._call.stage is Stage.WAITING:
            self._withdraw()
        elif self._call.stage is Stage.IN_FLIGHT:
            self._call.account.correct(self._call, 0)
            self._call.taken = None  # which says nothing about how long calls are
            self._end()

    def _withdraw(self) -> None:
        self._queue.waiting -= 1
        self._endpoint.queue.withdraw(self._call)

    def _end(self) -> None:
        was_full = self._queue.line.is_full
        self._queue.in_flight -= 1
        self._endpoint.end(self._call)
        if was_full:  # what waits at other endpoints may go now
            self._ended()

    def _busy(self) -> Overloaded:
        return Overloaded(retry_after=self._queue.drain)
