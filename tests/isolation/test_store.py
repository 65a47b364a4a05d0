"""LangGraph's store in a plugin's hands: each run's own, and nobody's outside of a run."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.stores import Stores
from tenancy.errors import NotAuthenticated
from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.speech import admin_of, answer, audit, usage
from tests.support.house import House, house
from tests.support.model_server import ModelServer, Reply
from tests.support.plugins import installed

PLUGIN = '''
import asyncio, json
from typing import Annotated, Any
from langchain_core.tools import tool
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from typing_extensions import TypedDict

Store = Annotated[BaseStore, InjectedStore()]
LEFT = {}

class State(TypedDict):
    found: str

def shown(items):
    return json.dumps([[*item.namespace, item.value["text"]] for item in items])

def tools(tenant):
    @tool
    async def note(root: str, text: str, store: Store) -> str:
        """Note a text."""
        LEFT["store"] = store
        await store.aput((root, "notes"), "k", {"text": text})
        return "Noted."

    @tool
    async def look(runtime: ToolRuntime, query: str = "") -> str:
        """Look at all there is."""
        return shown(await runtime.store.asearch((), query=query or None))

    @tool
    async def look_with_anothers() -> str:
        """Look with the store that the last run left."""
        return shown(await LEFT["store"].asearch(()))

    @tool
    def look_blocking(store: Store) -> str:
        """Look from a thread."""
        return shown(store.search(()))

    @tool
    async def look_within() -> str:
        """Look from a graph of its own."""
        async def node(state: State) -> dict:
            return {"found": shown(await get_store().asearch(()))}
        graph = StateGraph(State)
        graph.add_node("node", node)
        graph.add_edge(START, "node")
        return (await graph.compile().ainvoke({"found": ""}))["found"]

    @tool
    async def linger(store: Store) -> str:
        """Leave something behind that looks later."""
        LEFT["go"] = asyncio.Event()
        async def later():
            await LEFT["go"].wait()
            return await store.asearch(())
        LEFT["later"] = asyncio.create_task(later())
        return "Left."

    return [note, look, look_with_anothers, look_blocking, look_within, linger]
'''
LOOKS = ("look", "look_with_anothers", "look_blocking", "look_within")
TOOLS = ("note", *LOOKS, "linger")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A third party's package whose tools use the store."""
    with installed(tmp_path_factory.mktemp("site"), "noting", PLUGIN) as folder:
        yield folder


@pytest.fixture(scope="module")
async def product(
    plugin: Path, stores: Stores, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """A house in which that plugin is installed."""
    async with house(stores, tmp_path_factory.mktemp("data"), model) as running:
        yield running


async def equipped(product: House, name: str, **limits: int) -> TenantId:
    """A tenant of the test's own that has enabled the tools."""
    tenant = await product.new_tenant(name, **limits)
    async with admin_of(product) as admin:
        for tool in TOOLS:
            admin.enable_tool(tenant, tool, enabled=True)
    return tenant


async def told(product: House, client: httpx.AsyncClient, tool: str, **args: Any) -> str:
    """What a tool answers to a run of the client."""
    product.model.script(Reply.tool_call(tool, args))
    await answer(client)
    said = product.model.chat_requests[-1]["messages"]
    return str(next(message["content"] for message in said[::-1] if message["role"] == "tool"))


async def seen(product: House, client: httpx.AsyncClient, tool: str = "look") -> list[list[str]]:
    """All that a tool sees in the store."""
    found: list[list[str]] = json.loads(await told(product, client, tool))
    return sorted(found)


@pytest.mark.parametrize("look", LOOKS)
async def test_a_tool_never_sees_another_tenants_or_persons(product: House, look: str) -> None:
    ours, theirs = [await equipped(product, f"{name}-{look}") for name in ("ours", "theirs")]
    async with (
        product.client(ours, "ann", Role.ADMIN) as ann,
        product.client(ours, "bob") as bob,
        product.client(theirs, "ann", Role.ADMIN) as rival,
    ):
        assert await told(product, rival, "note", root="person", text="the rival's") == "Noted."
        assert await told(product, rival, "note", root="tenant", text="the rivals'") == "Noted."
        assert await told(product, ann, "note", root="person", text="ann's") == "Noted."
        assert await told(product, ann, "note", root="tenant", text="all's") == "Noted."
        alls = ["tenant", "notes", "all's"]
        assert await seen(product, bob, look) == [alls]
        assert await seen(product, ann, look) == [["person", "notes", "ann's"], alls]
        assert await seen(product, rival, look) == [
            ["person", "notes", "the rival's"],
            ["tenant", "notes", "the rivals'"],
        ]


@pytest.mark.parametrize("root", ["alice", "ours", "*", ""])
async def test_a_tool_names_no_other_root(product: House, root: str) -> None:
    tenant = await equipped(product, f"rooted-{len(root)}-{root.strip('*')}x")
    async with product.client(tenant) as client:
        failed = await told(product, client, "note", root=root, text="x")
        assert "InvalidNamespaceError" in failed
        assert await seen(product, client) == []


async def test_a_members_tool_writes_nothing_for_all(product: House) -> None:
    tenant = await equipped(product, "members")
    async with product.client(tenant) as client:
        assert "Forbidden" in await told(product, client, "note", root="tenant", text="x")
        assert await seen(product, client) == []


async def test_outside_of_a_run_there_is_no_store(product: House) -> None:
    tenant = await equipped(product, "outside")
    left = importlib.import_module("noting_tools").LEFT
    async with product.client(tenant) as client:
        await told(product, client, "note", root="person", text="x")
        with pytest.raises(NotAuthenticated):
            await left["store"].asearch(())
        with pytest.raises(NotAuthenticated):
            await asyncio.to_thread(left["store"].search, ())
        await told(product, client, "linger")
    left["go"].set()
    with pytest.raises(NotAuthenticated):
        await left["later"]


async def test_the_plan_and_the_person_hold_for_tools_too(product: House) -> None:
    tenant = await equipped(product, "limited", memories=1)
    async with product.client(tenant) as client:
        await client.post("/v1/memories", json={"text": "I like tea"})
        assert "QuotaExceeded" in await told(product, client, "note", root="person", text="x")
        await client.delete("/v1/memories")
        assert await told(product, client, "note", root="person", text="x") == "Noted."
        await client.put("/v1/memory", json={"enabled": False})
        assert await seen(product, client) == []
        assert "Forbidden" in await told(product, client, "note", root="person", text="y")


async def test_what_a_tool_keeps_is_billed_and_audited(product: House) -> None:
    tenant = await equipped(product, "billed")
    async with product.client(tenant) as client:
        before = (await usage(product, tenant)).get("embedding_tokens", 0)
        await told(product, client, "note", root="person", text="a secret of four words")
        after = (await usage(product, tenant))["embedding_tokens"]
        await told(product, client, "look", query="four words")
        assert before < after < (await usage(product, tenant))["embedding_tokens"]
    [event] = [e for e in await audit(product, tenant) if e["action"] == "memory.remember"]
    assert None not in (event["thread_id"], event["run_id"])
    assert event["actor"].endswith("> graph")
    assert "secret" not in str(event)


async def test_what_a_tool_keeps_its_person_sees_and_deletes(product: House) -> None:
    tenant = await equipped(product, "deleting")
    async with product.client(tenant) as ann, product.client(tenant, "bob") as bob:
        for delete in ("/v1/memories/{memory_id}", "/v1/memories"):
            await told(product, ann, "note", root="person", text="x")
            [item] = (await ann.get("/v1/memories/export")).json()["items"]
            assert (item["namespace"], item["value"]) == (["person", "notes"], {"text": "x"})
            assert (await bob.get("/v1/memories/export")).json()["items"] == []
            assert (await ann.get("/v1/memories")).json()["items"] == []
            mine = delete.format(**item)
            assert (await bob.delete(mine)).status_code == (404 if "{" in delete else 204)
            assert len(await seen(product, ann)) == 1
            assert (await ann.delete(mine)).status_code == 204
            assert await seen(product, ann) == []


async def test_what_a_tool_keeps_for_all_is_deleted_by_who_may_change_settings(
    product: House,
) -> None:
    tenant = await equipped(product, "governed")
    async with product.client(tenant, "boss", Role.ADMIN) as boss, product.client(tenant) as ann:
        await told(product, boss, "note", root="tenant", text="x")
        kept = (await boss.get("/v1/memories/export", params={"of": "tenant"})).json()
        url = f"/v1/memories/{kept['items'][0]['memory_id']}"
        assert (await ann.delete(url)).status_code == 403
        assert (await boss.delete(url)).status_code == 204
        assert await seen(product, ann) == []
