"""Knows whether Redis is there, whether it forgot something, and when it may be relied on again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from redis.asyncio import Redis

from server.quota_metrics import tell_quota_local
from storage.redis_client import AWAY, AnyRedis, node_of, nodes_of
from storage.redis_keys import Area, redis_key
from storage.redis_mark import Mark, mark_of
from tenancy.errors import Failure
from tenancy.ids import TenantId
from tenancy.placement import FIRST_CELL

LOOK_SECONDS = 0.25
SILENCE_SECONDS = 0.5
REPAIR_SECONDS = 10.0  # for all that is done before Redis is relied on again
SAME_OUTAGE_SECONDS = 60.0  # away again within this it is the same outage: local limits go on

Concerns = Callable[[TenantId], bool]
Repair = Callable[[Concerns], Awaitable[None]]

log = structlog.get_logger()


@dataclass(slots=True)
class _Node:
    """One Redis, or one node of a cluster."""

    mark: Mark | None = None  # when it was last well
    away: bool = False
    looked_at: asyncio.Task[None] | None = None


class QuotaWatch:
    """Looks four times a second, for every node of Redis by itself.

    A node is away from the moment a call failed or a look found it silent or unable to take writes.
    It is back when every one of `on_return` has been awaited; one that raises a `Failure`, or takes
    too long, is tried again with the next look. Where the node was restarted, emptied or replaced,
    `on_loss` comes first. Each is told which tenants are concerned: those whose keys it holds.
    """

    def __init__(
        self,
        redis: AnyRedis,
        *,
        cell_id: str = FIRST_CELL,
        on_return: Sequence[Repair] = (),
        on_loss: Sequence[Repair] = (),
    ) -> None:
        self.on_return = list(on_return)
        self.on_loss = list(on_loss)
        self.outage = 0  # how many there were; one that comes back at once is not a new one
        self._redis = redis
        self._cell_id = cell_id
        self._nodes: dict[str, _Node] = {}
        self._all_away = False  # no node can be named
        self._known = False  # the first nodes were found: one that appears later is a replacement
        self._proven = False
        self._back_at = -SAME_OUTAGE_SECONDS

    @property
    def proven(self) -> bool:
        """Whether Redis was ever well since this process looks."""
        return self._proven

    @property
    def away(self) -> bool:
        """Whether any node is away."""
        return self._all_away or any(node.away for node in self._nodes.values())

    def away_for(self, tenant_id: TenantId) -> bool:
        """Whether the node that holds the tenant's counters is away."""
        if not self.away:
            return False
        node = self._nodes.get(self._name_of(tenant_id) or "")
        return self._all_away or (node is not None and node.away)

    def failed(self, tenant_id: TenantId | None = None) -> None:
        """A call was not answered: the tenant's node, or every one, is away until it is well."""
        name = None if tenant_id is None else self._name_of(tenant_id)
        if name is not None:
            self._leave(self._nodes.setdefault(name, _Node()))
            return
        if not self._nodes:
            self._count_outage()
            self._all_away = True
        for node in self._nodes.values():
            self._leave(node)

    async def keep(self) -> None:
        """Look until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for name in tuple(self._nodes):
                self._forget(name)

    async def look(self) -> None:
        """Begin a look at every node that is not being looked at; wait for the fast ones."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                clients = await nodes_of(self._redis)
        except AWAY:
            self.failed()
            return
        for name in set(self._nodes) - set(clients):
            self._forget(name)
        looks = [self._begin_look(name, client) for name, client in clients.items()]
        self._known, self._all_away = True, False
        await asyncio.wait(looks, timeout=SILENCE_SECONDS)

    def _forget(self, name: str) -> None:
        look = self._nodes.pop(name).looked_at
        if look is not None:
            look.cancel()

    def _begin_look(self, name: str, client: Redis) -> asyncio.Task[None]:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = _Node(None, away=self._known or self._all_away)
        if node.looked_at is None or node.looked_at.done():
            node.looked_at = asyncio.create_task(self._look_at(name, node, client))
        return node.looked_at

    async def _look_at(self, name: str, node: _Node, client: Redis) -> None:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                mark = await mark_of(self._redis, name, client, cell_id=self._cell_id)
        except AWAY:
            self._leave(node)
            return
        lost = mark != node.mark and (node.mark is not None or node.away)
        if lost:
            self._leave(node)
        if node.away and not await self._repaired(name, lost=lost):
            return
        node.mark, self._proven = mark, True
        self._come_back(node)

    async def _repaired(self, name: str, *, lost: bool) -> bool:
        repairs = [*(self.on_loss if lost else ()), *self.on_return]
        try:
            async with asyncio.timeout(REPAIR_SECONDS):
                for repair in repairs:
                    await repair(lambda tenant_id: self._name_of(tenant_id) == name)
        except (Failure, TimeoutError) as error:
            log.warning("quota_repair_failed", node=name, reason=str(error))
            return False
        return True

    def _leave(self, node: _Node) -> None:
        if node.away:
            return
        self._count_outage()
        node.away = True
        log.warning("quota_local")
        tell_quota_local(away=True)

    def _count_outage(self) -> None:
        if not self.away and time.monotonic() - self._back_at >= SAME_OUTAGE_SECONDS:
            self.outage += 1

    def _come_back(self, node: _Node) -> None:
        if not node.away:
            return
        node.away = False
        self._back_at = time.monotonic()
        log.info("quota_shared")
        tell_quota_local(away=self.away)

    def _name_of(self, tenant_id: TenantId) -> str | None:
        return node_of(self._redis, redis_key(tenant_id, Area.QUOTA, "counters"))
