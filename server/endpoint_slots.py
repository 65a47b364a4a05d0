"""The slots of one model endpoint in one process."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tenancy.durations import Durations
from tenancy.fairness import Call, FairQueue
from tenancy.throttle import Load, Share, Throttle

FIRST_CALL_SECONDS = 5.0  # how long a call takes while nothing is known
RECENT_SECONDS = 1.0  # an endpoint that nobody asked for so long leaves its part to others
ROUNDING = 1e-6


class Numbers(Protocol):
    """The other replicas. Raises `Unavailable`."""

    async def share(self, endpoint: str, load: Load, most: int) -> Share:
        """Tell the others and take a part."""
        ...


class EndpointSlots:
    """Dispatches calls while slots are free.

    In this process it has a part of `most`, and as large a part of the adaptive limit.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self.queue = FairQueue()
        self.calls = Durations(FIRST_CALL_SECONDS)
        self._most = most
        self._clock = clock
        self._throttle = Throttle(most)
        self._part = self._last_part = most
        self._fraction = 1.0  # of the limit, which is that of all replicas
        self._paused_elsewhere = 0.0
        self._without_part = False
        self._asked = clock()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many calls may be in flight in this process."""
        own = int(self._throttle.limit * self._fraction + ROUNDING)
        return max(1, min(self._part, own))

    @property
    def free(self) -> int:
        """How many calls could be dispatched now."""
        return 0 if self.paused_seconds else max(0, self.limit - self.queue.in_flight)

    @property
    def paused_seconds(self) -> float:
        """How long nothing is to be sent to the endpoint."""
        now = self._clock()
        return max(self._throttle.paused_seconds(now), self._paused_elsewhere - now)

    @property
    def is_used(self) -> bool:
        """Whether it has anything to do, or had a moment ago."""
        queue = self.queue
        recent = self._clock() - self._asked < RECENT_SECONDS
        return recent or bool(queue.waiting or queue.in_flight or self.paused_seconds)

    def ask(self) -> bool:
        """Somebody wants a slot; whether the others must be asked for a part first."""
        self._asked = self._clock()
        waits, self._without_part = self._without_part, False
        return waits

    def pump(self) -> None:
        """Dispatch who may go: afterwards no slot is free while a call that may go waits."""
        free = self.limit - self.queue.in_flight
        if free <= 0 or not self.queue.waiting:
            return
        if (paused := self.paused_seconds) > 0:
            return self._pump_after(paused)
        while free > 0 and (call := self.queue.pop()):
            call.granted()
            free -= 1

    def end(self, call: Call) -> None:
        """A call that was dispatched is over; its slot goes to the next."""
        self.queue.end(call)
        self.pump()

    def observe(self, *, seconds: float, tokens: int) -> None:
        """A call succeeded."""
        used = 2 * self.queue.in_flight >= self.limit
        self._throttle.observe(self._clock(), seconds=seconds, tokens=tokens, used=used)
        self.pump()

    def press(self, retry_after_seconds: float) -> None:
        """The endpoint refused a call, or broke."""
        self._throttle.press(self._clock(), retry_after_seconds=retry_after_seconds)
        self.pump()

    async def share(self, numbers: Numbers, endpoint: str) -> int:
        """Agree with the other replicas; how many there are. Raises `Unavailable`."""
        throttle, queue = self._throttle, self.queue
        limit, paused = throttle.limit, throttle.paused_seconds(self._clock())
        load = Load(queue.in_flight, queue.calls, queue.weight, limit, self._part, paused)
        share = await numbers.share(endpoint, load, self._most)
        if throttle.limit == limit:  # otherwise it has learned something meanwhile
            throttle.adopt(share.limit)
        self._paused_elsewhere = self._clock() + share.paused_seconds
        self._part = self._last_part = share.part
        self._fraction = min(1.0, share.part / share.limit)
        self.pump()
        return share.replicas

    def stay(self) -> None:
        """The others cannot be reached: go by the last part that they left."""
        self._part = self._last_part
        self.pump()

    def park(self) -> None:
        """Nobody asks: the part is the others' until it is shared anew."""
        self._part, self._without_part = 1, True

    def begin_shared(self, replicas: int) -> None:
        """Wait to be told a part, or take that of one among so many when nobody can be reached."""
        self._last_part = max(1, self._most // replicas)
        self.park()

    def _pump_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self.pump()
