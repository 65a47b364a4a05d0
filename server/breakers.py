"""A circuit breaker for each tenant and model: one tenant's failures never stop another."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from time import monotonic

from tenancy.breaker import CLOSED, Breaker
from tenancy.errors import BreakerOpen, ModelFailed
from tenancy.ids import TenantId

MOST = 10_000  # breakers remembered that are not at rest: a few megabytes

Key = tuple[TenantId, str]


class Breakers:
    """Implements the port `Breakers` of the graph. What works is not remembered at all."""

    def __init__(self, clock: Callable[[], float] = monotonic, most: int = MOST) -> None:
        self._clock = clock
        self._most = most
        self._calls = count()
        self._known: OrderedDict[Key, Breaker] = OrderedDict()  # the one used last at the end

    def require_closed(self, tenant_id: TenantId, model: str) -> None:
        """Raise `BreakerOpen` where a call could not be made now."""
        seconds = self._of((tenant_id, model)).rest(self._clock())
        if seconds is not None:
            raise BreakerOpen(timedelta(seconds=seconds))

    @contextmanager
    def call(self, tenant_id: TenantId, model: str) -> Iterator[None]:
        """A call of `model`, which succeeds or fails as the block does; raises `BreakerOpen`."""
        self.require_closed(tenant_id, model)
        key, call = (tenant_id, model), next(self._calls)
        self._keep(key, self._of(key).began(call))
        try:
            yield
        except ModelFailed as failure:
            self._keep(key, self._judged(self._of(key), call, failure))
            raise
        except BaseException:
            self._keep(key, self._of(key).withdrew(call))
            raise
        self._keep(key, self._of(key).succeeded(call))

    def open(self) -> Counter[str]:
        """How many tenants' breakers are open, by model."""
        now = self._clock()
        known = self._known.items()
        return Counter(model for (_, model), breaker in known if breaker.rest(now) is not None)

    def __len__(self) -> int:
        return len(self._known)

    def _judged(self, breaker: Breaker, call: int, failure: ModelFailed) -> Breaker:
        if not failure.at_fault:
            return breaker.withdrew(call)
        asked = failure.retry_after or timedelta()
        return breaker.failed(call, self._clock(), asked.total_seconds())

    def _of(self, key: Key) -> Breaker:
        return self._known.get(key, CLOSED)

    def _keep(self, key: Key, breaker: Breaker) -> None:
        self._known.pop(key, None)
        if breaker == CLOSED:
            return
        self._known[key] = breaker
        if len(self._known) > self._most:
            del self._known[self._least_missed()]

    def _least_missed(self) -> Key:
        """The one that was used longest ago, unless it is being tried."""
        idle = (key for key, breaker in self._known.items() if breaker.trial is None)
        return next(idle, next(iter(self._known)))
