"""The server as the two tenants reach it: over HTTP, like anybody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp

from server import demo
from server.noisy_neighbour.latency import NO_ANSWER
from server.noisy_neighbour.neighbours import Neighbour, Neighbours
from server.noisy_neighbour.phases import Phase, Settings
from server.stores import Stores
from server.throwaway import suspend
from storage.control import control
from tenancy.errors import Failure
from tenancy.plan import new_plan

DOCUMENT = Path(demo.__file__).parent / "acme" / "warranty.md"
QUESTION = "How many years does the warranty of a standing desk last?"
ANSWER_SECONDS = 60.0
KNOWN_SECONDS = 10.0  # a change acts within a second, on a server that is not busy
OTHERS_SECONDS = 1.0  # after one server process knows a change, all do
REST_SECONDS = 10.0  # until what still runs at the end is stopped
CALM_READINGS = 5  # in a row: a request on its way to admission holds no slot yet
STOPPING_SECONDS = 3.0  # a server stops the runs of a suspended tenant within one
STEP_SECONDS = 0.1
AWAY = (aiohttp.ClientError, TimeoutError, ValueError)


@dataclass(frozen=True, slots=True)
class Door:
    """A server as one of the two sees it."""

    neighbour: Neighbour
    session: aiohttp.ClientSession

    async def ask(self) -> int:
        """Ask the question in a new thread: the status, or `NO_ANSWER`."""
        try:
            status, body = await self._chat()
        except AWAY:
            return NO_ANSWER
        return status if status != HTTPStatus.OK or body.get("answer") else NO_ANSWER

    async def model(self) -> str:
        """Which model answers the question; raises `Failure` when none does."""
        try:
            status, body = await self._chat()
        except AWAY as error:
            raise Failure("The server does not answer the bench.") from error
        if status != HTTPStatus.OK:
            raise Failure(f"The server does not answer the bench: {body.get('detail', status)}")
        return str(body["model"])

    async def _chat(self) -> tuple[int, dict[str, Any]]:
        async with self.session.post("/v1/chat", json={"message": QUESTION}) as response:
            return response.status, await response.json(content_type=None)

    async def quota(self) -> dict[str, Any]:
        """Where the tenant stands, by meter; empty while the server does not know the tenant."""
        async with self.session.get("/v1/quota") as response:
            body = await response.json(content_type=None)
        return {each["meter"]: each for each in body.get("items", ())}

    async def bring(self, name: str, content: bytes) -> None:
        """Give the tenant something to answer from; raises `Failure`."""
        form = aiohttp.FormData()
        form.add_field("file", content, filename=name, content_type="text/markdown")
        async with self.session.post("/v1/documents", data=form) as response:
            if response.status != HTTPStatus.CREATED:
                raise Failure(f"The server took no document: it answered {response.status}.")


@asynccontextmanager
async def doors(url: str, stores: Stores, pair: Neighbours) -> AsyncIterator[tuple[Door, Door]]:
    """The noisy one's and the quiet one's; nothing of theirs runs any more afterwards.

    What runs writes, and would leave a trace of a tenant that is erased.
    """
    async with _door(url, pair.noisy) as noisy, _door(url, pair.quiet) as quiet:
        try:
            yield noisy, quiet
        finally:
            if not await _rest(noisy, quiet):
                ids = [pair.noisy.tenant_id, pair.quiet.tenant_id]
                await asyncio.to_thread(suspend, stores, ids)
                await asyncio.sleep(STOPPING_SECONDS)


@asynccontextmanager
async def _door(url: str, neighbour: Neighbour) -> AsyncIterator[Door]:
    headers = {"Authorization": f"Bearer {neighbour.key}"}
    connector = aiohttp.TCPConnector(limit=0)  # a caller waits for the server, never for another
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(
        url, headers=headers, connector=connector, timeout=timeout
    ) as session:
        yield Door(neighbour, session)


async def _rest(*both: Door) -> bool:
    """Whether their last runs ended in time."""
    deadline, calm = monotonic() + REST_SECONDS, 0
    while calm < CALM_READINGS and monotonic() < deadline:
        try:
            standings = [await door.quota() for door in both]
        except AWAY:
            return False
        busy = any(each.get("concurrent_runs", {}).get("used") for each in standings)
        calm = 0 if busy else calm + 1
        await asyncio.sleep(STEP_SECONDS)
    return calm == CALM_READINGS


async def enter(phase: Phase, stores: Stores, *, noisy: Door, quiet: Door) -> None:
    """Put both on the plans of a phase, and return when the server goes by them.

    Raises `Failure` when it never does.
    """
    plans = [(noisy, phase.noisy), (quiet, phase.quiet)]
    await asyncio.to_thread(_put, stores, plans)
    for door, settings in plans:
        await _known(door, int(settings["requests_per_minute"]))
    await asyncio.sleep(OTHERS_SECONDS)


def _put(stores: Stores, plans: list[tuple[Door, Settings]]) -> None:
    with control(stores.owner()) as admin:
        for door, settings in plans:
            admin.put_plan(new_plan(door.neighbour.plan_id, settings))


async def _known(door: Door, requests_per_minute: int) -> None:
    deadline = monotonic() + KNOWN_SECONDS
    while monotonic() < deadline:
        try:
            known = await door.quota()
        except AWAY as error:
            raise Failure("The server went away.") from error
        if known.get("requests", {}).get("limit") == requests_per_minute:
            return
        await asyncio.sleep(STEP_SECONDS)
    raise Failure(
        "The server does not know the bench's tenants: has it the database of this data directory?"
    )
