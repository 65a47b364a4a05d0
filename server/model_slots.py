"""What stands in front of the model: a fair queue and an adaptive number of slots an endpoint."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from server.endpoint_slots import EndpointSlots, Numbers
from server.slot import Place, Slot, TenantQueue
from tenancy.errors import QuotaExceeded, Unavailable
from tenancy.fairness import Line, Priority
from tenancy.ids import TenantId
from tenancy.plan import COMMON_LINE, UNLIMITED
from tenancy.tenant import Tenant

SHARE_SECONDS = 0.15
KEPT_TENANTS = 1000  # before it is worth to look who is idle
KEPT_ACCOUNTS = 1000  # of idle tenants that were served more than others; an endpoint and class
KEPT_ENDPOINTS = 1000


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """One endpoint in this process."""

    limit: int
    in_flight: int
    waiting: Mapping[Priority, int]
    paused_seconds: float


@dataclass(frozen=True, slots=True)
class TenantFigures:
    """One tenant in this process; `served` are tokens, since it was first seen."""

    waiting: int
    in_flight: int
    served: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What happens in front of the model."""

    endpoints: Mapping[str, EndpointFigures]
    tenants: Mapping[TenantId, TenantFigures]


class ModelSlots:
    """The queue in front of every model endpoint of one process.

    `most` bounds the calls in flight at one endpoint: of this process, and of the whole cell where
    the replicas `share`. `clock` gives seconds that pass as the event loop's do.
    """

    def __init__(self, *, most: int, clock: Callable[[], float] | None = None) -> None:
        self._most = most
        self._clock = clock or _now
        self._common = Line()
        self._queues: dict[TenantId, TenantQueue] = {}
        self._endpoints: dict[str, EndpointSlots] = {}
        self._room = KEPT_TENANTS
        self._replicas = 1
        self._sharing = False
        self._unshared = asyncio.Event()

    @property
    def replicas(self) -> int:
        """How many processes share the slots, this one among them."""
        return self._replicas

    def enter(self, tenant: Tenant, priority: Priority = Priority.INTERACTIVE) -> Place:
        """Take a place in the tenant's queue, once a run; raises `QuotaExceeded` when it is full.

        With a weight of `COMMON_LINE` a tenant has a queue of its own length, but no turn of its
        own and no cap: its calls wait in one line with those of all such tenants.
        """
        queue = self._queue(tenant)
        if queue.is_full:
            raise QuotaExceeded("queue", queue.drain)
        queue.entered += 1
        queue.places += 1
        return Place(queue, priority)

    def leave(self, place: Place) -> None:
        """Give the place back: the run ended, or was refused. A second time does nothing."""
        place.leave()

    def slot(self, place: Place, endpoint: str, *, tokens: int) -> Slot:
        """A slot for one call that takes about `tokens`, input and output: to be entered."""
        slots = self._endpoint(endpoint)
        if slots.ask():
            self._unshared.set()
        return Slot(place, slots, tokens=tokens, clock=self._clock, ended=self._pump)

    def pressed(self, endpoint: str, *, retry_after: timedelta | None = None) -> None:
        """The endpoint answered 429 or 5xx: fewer calls, and none before `retry_after` is over."""
        self._endpoint(endpoint).press((retry_after or timedelta()).total_seconds())

    def observed(self, endpoint: str, *, seconds: float, tokens: int) -> None:
        """A call succeeded, in so long and with so much work."""
        self._endpoint(endpoint).observe(seconds=seconds, tokens=tokens)

    def elsewhere(self, tenant_id: TenantId, total_served: int) -> None:
        """Charge here too what others of all replicas served a tenant since the last look.

        `total_served` are tokens and only grow; where they begin anew, so does the reckoning.
        """
        queue = self._queues.get(tenant_id)
        if queue is not None and (tokens := queue.elsewhere(total_served)):
            queue.line.charge(tokens)

    def figures(self) -> Figures:
        """What happens now."""
        endpoints = {name: _figures_of(slots) for name, slots in self._endpoints.items()}
        tenants = {
            tenant_id: TenantFigures(queue.length, queue.in_flight, round(queue.served))
            for tenant_id, queue in self._queues.items()
        }
        return Figures(endpoints, tenants)

    async def share(self, numbers: Numbers) -> None:
        """Share each endpoint's slots with the other replicas, until cancelled."""
        while True:
            self._unshared.clear()
            await self.share_once(numbers)
            with suppress(TimeoutError):
                async with asyncio.timeout(SHARE_SECONDS):
                    await self._unshared.wait()

    async def share_once(self, numbers: Numbers) -> None:
        """One round trip for each endpoint in use; while nobody is reached, the last parts hold."""
        self._sharing = True
        used = {name: slots for name, slots in self._endpoints.items() if slots.is_used}
        for slots in self._endpoints.values():
            if not slots.is_used:
                slots.park()
        exchanges = (_exchange(slots, numbers, name) for name, slots in used.items())
        self._among(max(await asyncio.gather(*exchanges), default=0))

    def _among(self, replicas: int) -> None:
        """Take the part of one among so many of every tenant's cap; 0 when that is not known."""
        if replicas in (0, self._replicas):
            return
        self._replicas = replicas
        for queue in self._queues.values():
            self._follow_plan(queue)
        self._pump()

    def _queue(self, tenant: Tenant) -> TenantQueue:
        queue = self._queues.get(tenant.tenant_id)
        if queue is not None and queue.plan == tenant.plan:
            return queue
        if queue is None:
            self._forget()
            queue = self._queues[tenant.tenant_id] = TenantQueue(tenant.plan, Line())
        queue.plan = tenant.plan
        self._follow_plan(queue)
        return queue

    def _follow_plan(self, queue: TenantQueue) -> None:
        weight, cap = queue.plan.weight, queue.plan.model_calls_in_flight
        if weight == COMMON_LINE:
            queue.line = self._common
            return
        if queue.line is self._common:
            queue.line = Line()
        queue.line.resize(weight, cap if cap == UNLIMITED else max(1, cap // self._replicas))

    def _endpoint(self, name: str) -> EndpointSlots:
        slots = self._endpoints.get(name)
        if slots is None:
            slots = self._endpoints[name] = EndpointSlots(self._most, self._clock)
            if self._sharing:
                slots.begin_shared(self._replicas)
        return slots

    def _pump(self) -> None:
        for slots in self._endpoints.values():
            slots.pump()

    def _forget(self) -> None:
        """Drop what nothing is going on with, once there is much of it."""
        if len(self._queues) < self._room:
            return
        surplus = len(self._endpoints) > KEPT_ENDPOINTS
        for name, slots in [*self._endpoints.items()]:
            if surplus and not slots.is_used:
                del self._endpoints[name]
                slots.queue.forget(0)
            else:
                slots.queue.forget(KEPT_ACCOUNTS)
        self._queues = {t: q for t, q in self._queues.items() if not self._is_idle(q)}
        self._room = max(KEPT_TENANTS, 2 * len(self._queues))

    def _is_idle(self, queue: TenantQueue) -> bool:
        if queue.places or queue.waiting or queue.in_flight:
            return False
        return queue.line is self._common or not queue.line.accounts


async def _exchange(slots: EndpointSlots, numbers: Numbers, name: str) -> int:
    try:
        return await slots.share(numbers, name)
    except Unavailable:
        slots.stay()
        return 0


def _figures_of(slots: EndpointSlots) -> EndpointFigures:
    waiting = {priority: tier.waiting for priority, tier in slots.queue.tiers.items()}
    return EndpointFigures(slots.limit, slots.queue.in_flight, waiting, slots.paused_seconds)


def _now() -> float:
    """The loop's time; where figures are read outside of it, the clock that it goes by."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return monotonic()
