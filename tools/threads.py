"""Threads for tools that block: counted per tenant, and never waited for."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from threading import Lock, Thread
from typing import TypeVar

from tenancy.ids import TenantId

T = TypeVar("T")


class Busy(Exception):
    """Too many blocking calls are still running."""


class Threads:
    """One daemon thread a call, at most `per_tenant` alive for a tenant and `limit` in all.

    The loop's own executor is left alone: it has a handful of threads (name resolution needs them),
    a few calls that never return would hold them all for every tenant, and an exit waits for them.
    """

    def __init__(self, *, per_tenant: int = 16, limit: int = 256) -> None:
        self._per_tenant = per_tenant
        self._limit = limit
        self._alive: Counter[TenantId] = Counter()
        self._lock = Lock()

    async def run(self, tenant_id: TenantId, function: Callable[[], T]) -> T:
        """Await `function` in a thread; raises `Busy`. Cancelled, it is left to end by itself."""
        self._take(tenant_id)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def work() -> None:
            try:
                tell: Callable[[], None] = _result(answer, context.run(function))
            except BaseException as error:  # handed to the caller, whatever it is
                tell = _failure(answer, error)
            self._give_back(tenant_id)
            _post(loop, tell)

        try:
            Thread(target=work, name="tool", daemon=True).start()
        except RuntimeError:  # the machine has no thread left
            self._give_back(tenant_id)
            raise Busy from None
        return await answer

    def _take(self, tenant_id: TenantId) -> None:
        with self._lock:
            if self._alive[tenant_id] >= self._per_tenant or self._alive.total() >= self._limit:
                raise Busy
            self._alive[tenant_id] += 1

    def _give_back(self, tenant_id: TenantId) -> None:
        with self._lock:
            self._alive[tenant_id] -= 1
            if not self._alive[tenant_id]:
                del self._alive[tenant_id]


def _result(answer: "asyncio.Future[T]", value: T) -> Callable[[], None]:
    return lambda: None if answer.done() else answer.set_result(value)


def _failure(answer: "asyncio.Future[T]", error: BaseException) -> Callable[[], None]:
    # A future refuses StopIteration and would stay pending for ever.
    told = RuntimeError("StopIteration") if isinstance(error, StopIteration) else error
    return lambda: None if answer.done() else answer.set_exception(told)


def _post(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
