"""A Redis Cluster as we use it: a lost node takes its own tenants along, and no others.

redis-py's own `RedisCluster` looks for the whole cluster again after each failed command and renews
every connection: docs/decisions/0007 says what that costs the tenants of healthy nodes.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import chain
from types import TracebackType
from typing import Any, Self

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as Silence

from storage.redis_url import Address

REDIRECTIONS = 5
SPLIT_SECONDS = 0.05  # the keys of a slot that moves are on two nodes for a moment
LOOK_SECONDS = 0.5  # until a silent node is passed over when the map is asked for
LOOK_AGAIN_SECONDS = 1.0
DOUBTS = (ConnectionLost, Silence, ClusterDownError, ReadOnlyError, OSError)
SCRIPTS = ("EVAL", "EVALSHA")


class ClusterRedis:
    """A client of our own for each node, and a map of which one has which slots.

    It sends commands on one key, and scripts on the keys of one tag, to the node that serves them;
    a slot that moved or failed over is followed. A command that fails is not sent again: it says so
    at once, and the map is looked up anew behind its back, at most once a second.
    """

    def __init__(self, seeds: Iterable[Address], connect: Callable[[Address], Redis]) -> None:
        self._seeds = tuple(seeds)
        self._connect = connect
        self._clients: dict[Address, Redis] = {}
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._look: asyncio.Task[None] | None = None
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._leaving: set[asyncio.Task[None]] = set()

    async def execute_command(self, *args: Any) -> Any:
        """Run a command on the node that serves its key."""
        slot = _slot(args)
        address, asks = await self._owner(slot), False
        for _ in range(REDIRECTIONS):
            try:
                return await self._send(address, args, asks=asks)
            except MovedError as moved:
                address, asks = (moved.host or address[0], moved.port), False
                self._owners[slot] = address
                self.doubt()
            except AskError as ask:
                address, asks = (ask.host or address[0], ask.port), True
            except TryAgainError:
                await asyncio.sleep(SPLIT_SECONDS)
            except DOUBTS:
                self.doubt()
                raise
        raise ClusterDownError("CLUSTERDOWN no node takes the command")

    async def evalsha(self, digest: str, keys: int, *arguments: Any) -> Any:
        """Run the script with this digest."""
        return await self.execute_command("EVALSHA", digest, keys, *arguments)

    async def eval(self, text: str, keys: int, *arguments: Any) -> Any:
        """Run a script, and remember it."""
        return await self.execute_command("EVAL", text, keys, *arguments)

    async def dump(self, key: str | bytes) -> Any:
        """The value of a key, serialised."""
        return await self.execute_command("DUMP", key)

    async def delete(self, key: str | bytes) -> Any:
        """Delete a key."""
        return await self.execute_command("DEL", key)

    async def nodes(self) -> Mapping[Address, Redis]:
        """The nodes that serve slots, as far as is known, each with its client."""
        if not any(self._owners):
            await self._look_up()
        return {address: self._client(address) for address in self._live()}

    def owner_of(self, key: str) -> Address | None:
        """The node that serves `key`, as far as is known already."""
        return self._owners[key_slot(key.encode())]

    def doubt(self) -> None:
        """Have the map looked up, unless that was done a moment ago."""
        if asyncio.get_running_loop().time() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._begin_look()

    async def scan_iter(
        self, match: str | None = None, count: int | None = None
    ) -> AsyncIterator[Any]:
        """The keys of every node, one node after the other."""
        for client in (await self.nodes()).values():
            async for key in client.scan_iter(match, count):
                yield key

    async def aclose(self) -> None:
        """Close every connection."""
        ending = {self._look} if self._look is not None else set()
        for look in ending:
            look.cancel()
        await asyncio.gather(*ending, *self._leaving, return_exceptions=True)
        clients = [self._clients.popitem()[1] for _ in range(len(self._clients))]
        await asyncio.gather(*(client.aclose() for client in clients), return_exceptions=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _send(self, address: Address, args: tuple[Any, ...], *, asks: bool) -> Any:
        """Have one node run a command; `asks` where the slot is still on its way to it."""
        if not asks:
            return await _ask(self._client(address), *args)
        async with self._client(address).pipeline(transaction=False) as pipe:
            pipe.execute_command("ASKING")
            pipe.execute_command(*args)
            return (await pipe.execute())[1]

    async def _owner(self, slot: int) -> Address:
        if self._owners[slot] is None:
            await self._look_up()
        owner = self._owners[slot]
        if owner is None:
            raise ClusterDownError("CLUSTERDOWN no node serves the slot")
        return owner

    def _client(self, address: Address) -> Redis:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._connect(address)
        return client

    def _live(self) -> set[Address]:
        return {address for address in self._owners if address is not None}

    # -- the map

    async def _look_up(self) -> None:
        """Wait for a map; a caller that is cancelled leaves the others' look alone."""
        await asyncio.shield(self._begin_look())
        if not any(self._owners):
            raise ConnectionLost("No node of the cluster answers.")

    def _begin_look(self) -> asyncio.Task[None]:
        if self._look is None or self._look.done():
            self._looked_at = asyncio.get_running_loop().time()
            self._look = asyncio.create_task(self._ask_around())
        return self._look

    async def _ask_around(self) -> None:
        for address in dict.fromkeys(chain(self._live(), self._seeds)):
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    ranges = await _ask(self._client(address), "CLUSTER SLOTS")
            except (RedisError, OSError):
                continue
            return self._learn(ranges, address)
        return None

    def _learn(self, ranges: Iterable[Sequence[Any]], told_by: Address) -> None:
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            owner = (host.decode() if host else told_by[0], port)
            owners[first : last + 1] = [owner] * (last + 1 - first)
        self._owners = owners
        self._forget(set(self._clients) - self._live() - set(self._seeds))

    def _forget(self, gone: Iterable[Address]) -> None:
        for address in gone:
            leaving = asyncio.create_task(self._clients.pop(address).aclose())
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)


async def _ask(client: Redis, *args: Any) -> Any:
    return await client.execute_command(*args)  # type: ignore[no-untyped-call]  # of redis-py


def _slot(args: tuple[Any, ...]) -> int:
    """The slot of a command's key: its first argument, a script's third."""
    at = 3 if args[0] in SCRIPTS else 1
    if len(args) <= at:
        raise ValueError(f"{args[0]} names no key: ask one of the nodes")
    key = args[at]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())
