"""Nothing tells somebody else's thing from one that never was: no byte, no statement, no command.

bench/indistinguishable.py compares the time as well.
"""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from storage.documents import PostgresDocuments
from storage.queries import Query
from tenancy.errors import NotFound
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.isolation.indistinguishable import (
    STATES,
    Seen,
    Watch,
    never,
    plant,
    put_into,
    settle,
    watching,
)
from tests.isolation.probes import MISSING, PROBES, Probe, places
from tests.support.house import UNLIMITED, House

OWNER, RIVAL = TenantId("acme"), TenantId("rival")
DOCUMENT = next(probe for probe in PROBES if probe.thing == "document")
OF_THREADS = [probe for probe in MISSING if probe.thing in {"thread", "run"}]


@pytest.fixture(scope="module")
async def things(product: House) -> dict[str, list[str]]:
    """Three of each thing of the owner's; its threads are idle, busy and quarantined."""
    await product.new_tenant(RIVAL, **UNLIMITED)
    found = await plant(product, OWNER, len(STATES))
    for thread, state in zip(found["thread"], STATES, strict=True):
        await put_into(product, OWNER, thread, state)
    return found


@pytest.fixture(scope="module")
async def watch(product: House, things: dict[str, list[str]]) -> AsyncIterator[Watch]:
    """What the house sends to its stores, from when everything is planted."""
    async with watching(product) as watch:
        yield watch


@pytest.fixture
async def rival(product: House, watch: Watch) -> AsyncIterator[httpx.AsyncClient]:
    """Who may do everything, in another tenant."""
    async with product.client(RIVAL, "boss", Role.ADMIN) as client:
        await settle(client, watch)
        yield client


@pytest.fixture
async def colleague(product: House, watch: Watch) -> AsyncIterator[httpx.AsyncClient]:
    """A member of the owner's own tenant."""
    async with product.client(OWNER, "boss", Role.ADMIN) as client:
        await settle(client, watch)
    async with product.client(OWNER, "eve") as client:
        yield client


async def both(
    client: httpx.AsyncClient, watch: Watch, probe: Probe, id_: str
) -> tuple[Seen, Seen]:
    return await watch.ask(client, probe, id_), await watch.ask(client, probe, never(probe))


async def test_every_id_that_a_client_may_name_has_a_probe(product: House) -> None:
    async with httpx.AsyncClient(base_url=product.url) as nobody:
        document = (await nobody.get("/openapi.json")).json()
    assert places(document) == {probe.place for probe in PROBES}


@pytest.mark.parametrize("probe", PROBES, ids=str)
async def test_a_rival_cannot_tell_it_from_what_never_was(
    rival: httpx.AsyncClient, watch: Watch, things: dict[str, list[str]], probe: Probe
) -> None:
    for id_ in things[probe.thing]:
        foreign, missing = await both(rival, watch, probe, id_)
        assert foreign == missing
        assert foreign.statements
        assert (foreign.status == 404) is (probe in MISSING)


@pytest.mark.parametrize("probe", OF_THREADS, ids=str)
async def test_nor_can_a_colleague_who_sees_only_threads_of_its_own(
    colleague: httpx.AsyncClient, watch: Watch, things: dict[str, list[str]], probe: Probe
) -> None:
    for id_ in things[probe.thing]:
        foreign, missing = await both(colleague, watch, probe, id_)
        assert foreign == missing
        assert foreign.status == 404


async def test_the_watch_sees_what_a_chat_sends(rival: httpx.AsyncClient, watch: Watch) -> None:
    chat = next(probe for probe in PROBES if probe.where == "header")
    seen = await watch.ask(rival, chat, never(chat))
    assert seen.status == 200
    assert any("open_run" in statement for statement in seen.statements)
    assert {command[0] for command in seen.commands} == {"EVALSHA"}
    assert all("{rival}:quota:" in command[3] for command in seen.commands)


async def test_a_second_look_at_what_exists_elsewhere_is_found(
    rival: httpx.AsyncClient,
    watch: Watch,
    things: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = PostgresDocuments.get

    async def get(self: Any, tenant_id: TenantId, document_id: Any) -> Any:
        if str(document_id) in things["document"]:
            async with self._cells.first.as_tenant(tenant_id) as conn:
                await conn.fetch(Query("look", b"select 1"))
        return await honest(self, tenant_id, document_id)

    monkeypatch.setattr(PostgresDocuments, "get", get)
    foreign, missing = await both(rival, watch, DOCUMENT, things["document"][0])
    assert foreign.body == missing.body
    assert foreign.statements != missing.statements


async def test_another_word_for_what_exists_elsewhere_is_found(
    rival: httpx.AsyncClient,
    watch: Watch,
    things: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def get(_self: Any, _tenant_id: TenantId, document_id: Any) -> Any:
        raise NotFound("Not yours." if str(document_id) in things["document"] else "Not there.")

    monkeypatch.setattr(PostgresDocuments, "get", get)
    foreign, missing = await both(rival, watch, DOCUMENT, things["document"][0])
    assert foreign.body != missing.body
