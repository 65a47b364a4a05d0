"""From the server over the graph to a tool: each call is proven, recorded, and stored nowhere."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server.components import Transaction
from server.stores import Stores
from tenancy.errors import NotAuthenticated
from tenancy.ids import TenantId
from tenancy.principal import Role, Scope
from tests.http.speech import admin_of, answer
from tests.support.house import House, house
from tests.support.model_server import ModelServer, Reply
from tests.support.plugins import installed

PLUGIN = '''
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool

SHOWN = []

def tools(tenant):
    @tool
    async def look_up(config: RunnableConfig) -> str:
        """Look something up, at a back end that wants to know for whom."""
        SHOWN.append(config["configurable"]["transaction_token"]())
        return "looked up"

    return [look_up]
'''
USE = frozenset({Scope.TOOLS_USE})
CHAIN = re.compile(r"(issuer:\S+|key:[0-9a-f-]+)( > server( > graph( > tool/[\w-]+)?)?)\Z")
HEADER = "eyJhbGciOiJFZERTQSIs"  # how each of our transaction tokens begins


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A third party's package."""
    with installed(tmp_path_factory.mktemp("site"), "edge", PLUGIN) as folder:
        yield folder


@pytest.fixture(scope="module")
async def product(
    plugin: Path, stores: Stores, model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A house in which the plugin is installed."""
    async with house(stores, tmp_path_factory.mktemp("data"), model) as running:
        yield running


async def equipped(product: House, name: str) -> TenantId:
    tenant = await product.new_tenant(name)
    async with admin_of(product) as admin:
        admin.enable_tool(tenant, "look_up", enabled=True)
    sys.modules["edge_tools"].SHOWN.clear()
    return tenant


def shown() -> list[str]:
    found: list[str] = sys.modules["edge_tools"].SHOWN
    return found


async def trail(product: House, tenant: str) -> list[dict[str, Any]]:
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        items: list[dict[str, Any]] = (await boss.get("/v1/audit")).json()["items"]
        return items[::-1]


async def test_a_tool_can_prove_to_its_back_end_for_whom_it_asks(product: House) -> None:
    tenant = await equipped(product, "prover")
    product.model.script(Reply.tool_call("look_up"))
    async with product.client(tenant, "ann") as client:
        await answer(client, "Look it up.")
    (own,) = shown()
    actors = product.services.components.verify(own, tenant, "look_up", USE)
    assert str(actors) == "issuer:urn:tenantry:dev > server > graph > tool/look_up"
    for owner, tool in ((TenantId("acme"), "look_up"), (tenant, "current_time")):
        with pytest.raises(NotAuthenticated):
            product.services.components.verify(own, owner, tool, USE)


async def test_the_audit_says_how_far_each_action_came(product: House) -> None:
    tenant = await equipped(product, "chained")
    product.model.script(Reply.tool_calls(("look_up", {}), ("no_such_tool", {})))
    async with product.client(tenant, "ann") as client:
        await answer(client, "Look it up.")
    run = "issuer:urn:tenantry:dev > server > graph"
    assert [(e["action"], e["outcome"], e["actor"]) for e in await trail(product, tenant)] == [
        ("tool.run", "allowed", f"{run} > tool/look_up"),
        ("tool.run", "refused", run),
        ("run.finish", "allowed", run),
    ]


async def test_every_kind_of_action_has_its_chain(product: House) -> None:
    tenant = await equipped(product, "variety")
    async with product.client(tenant, "boss", Role.ADMIN) as boss:
        wish = {"subject": "robot", "role": "service", "scopes": ["chat"]}
        made = (await boss.post("/v1/keys", json=wish)).json()
        files = {"file": ("a.txt", b"Returns take 30 days.", "text/plain")}
        assert (await boss.post("/v1/documents", files=files)).is_success
        product.model.script(Reply.tool_call("look_up"))
        said = await answer(boss, "Look it up.")
        assert (await boss.delete(f"/v1/threads/{said['thread_id']}")).is_success
        assert (await boss.post("/v1/chat", json={"message": "Hi", "assistant": "no"})).is_error
        assert (await boss.delete(f"/v1/keys/{made['key_id']}")).is_success
    events = await trail(product, tenant)
    assert len({event["action"] for event in events}) >= 6
    assert [event for event in events if not CHAIN.match(event["actor"])] == []


@pytest.mark.parametrize("forged", ["", "a.b.c", HEADER * 30])
async def test_a_call_that_a_tool_does_not_believe_is_refused_and_recorded(
    product: House, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    tenant = await equipped(product, f"doubter{len(forged)}")
    monkeypatch.setattr(Transaction, "token", lambda _: forged)
    product.model.script(Reply.tool_call("look_up"))
    async with product.client(tenant) as client:
        await answer(client, "Look it up.")
    first, *_ = await trail(product, tenant)
    assert (first["action"], first["resource"], first["outcome"]) == (
        *("tool.run", "look_up"),
        "refused",
    )
    assert first["actor"].endswith("> graph")
    assert shown() == []


async def test_no_token_is_in_a_store_a_prompt_or_a_log(
    product: House, capfd: pytest.CaptureFixture[str]
) -> None:
    tenant = await equipped(product, "keeper")
    product.model.script(Reply.tool_call("look_up"))
    async with product.client(tenant) as client:
        await answer(client, "Look it up.")
    (own,) = shown()
    assert own.startswith(HEADER)
    assert stored(product, own.encode()[:60]) == []
    assert stored(product, b"looked up") != []
    logged = capfd.readouterr()
    assert HEADER not in str(product.model.chat_requests) + logged.out + logged.err


def stored(product: House, canary: bytes) -> list[str]:
    """The tables in which the bytes are, as text or in a binary column."""
    with psycopg.connect(product.stores.owner()) as conn:
        conn.execute("set row_security = off")
        tables = conn.execute(
            "select oid::regclass::text from pg_class where relkind = 'r'"
            " and relnamespace in ('tenantry'::regnamespace, 'control'::regnamespace)"
        ).fetchall()
        found = []
        for (table,) in tables:
            conn.execute(f"alter table {table} no force row level security")
            question = f"select count(*) from {table} t where t::text like any(%s)"  # noqa: S608
            said = [f"%{canary.decode()}%", f"%{canary.hex()}%"]
            row = conn.execute(question, [said]).fetchone()
            found += [table] if row and row[0] else []
        conn.rollback()
    return found
