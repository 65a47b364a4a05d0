"""The example plugin, used as the engine uses it."""

import ast
from pathlib import Path

import pytest

import tenantry_orders
from tests.unit.tools.makers import call, gate, on, principal, tenant, token
from tools.catalogue import Catalogue
from tools.outcome import ToolOutcome
from tools.toolbox import Toolboxes

HEADER = "order_id,customer,item,status,expected_delivery\n"


async def ask(order_id: str = "A-1001", name: str = "acme", **configuration: object) -> ToolOutcome:
    settings = on(**{key: str(value) for key, value in configuration.items()})
    record = tenant(name, tools={"order_status": settings})
    box = Toolboxes(Catalogue.discover([])).of(record, principal(name))
    request = call("order_status", order_id=order_id)
    return await gate().run(request, box, tenant_id=record.tenant_id, token=token(name))


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    file = tmp_path / "orders.csv"
    file.write_text(HEADER + "A-1001,Ada,Kettle,shipped,2026-12-01\n", encoding="utf-8-sig")
    return file


async def test_a_known_order_is_told(orders: Path) -> None:
    outcome = await ask(orders_file=orders)
    assert outcome.status == "ok"
    assert outcome.message.content == (
        "Order A-1001 (Kettle) for Ada: shipped. Expected delivery: 2026-12-01."
    )


async def test_an_unknown_order_gets_a_helpful_answer(orders: Path) -> None:
    outcome = await ask("A-9999", orders_file=orders, support_email="help@acme.example")
    assert outcome.message.content == (
        "There is no order A-9999. Write to help@acme.example for help."
    )


async def test_a_tenant_that_configured_nothing_gets_a_clear_answer() -> None:
    assert (await ask()).message.content == ("Order look-up is not set up for this organisation.")


TOO_LONG = b'order_id\n"' + b"x" * 2_000_000  # documents let the process read a million


@pytest.mark.parametrize("content", [None, b"\xff\xfe", TOO_LONG], ids=["none", "binary", "long"])
async def test_an_unreadable_list_gets_an_answer_without_its_path(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "orders.csv"
    if content is not None:
        file.write_bytes(content)
    outcome = await ask(orders_file=file)
    assert outcome.status == "ok"
    assert outcome.message.content == "The list of orders cannot be read at the moment."


@pytest.mark.parametrize("order_id", ["1001", "a-1001", "A-1001; DROP", "A-", "A-1001\n"])
async def test_the_model_is_told_what_an_order_id_looks_like(orders: Path, order_id: str) -> None:
    outcome = await ask(order_id, orders_file=orders)
    assert outcome.status == "error"
    assert "order_id: String should match pattern" in outcome.message.content


def test_the_pattern_is_in_the_schema_the_model_sees() -> None:
    (tool,) = tenantry_orders.tools({"tenant_id": None, "configuration": {}})
    assert "pattern" in tool.tool_call_schema.model_json_schema()["properties"]["order_id"]


async def test_each_tenant_reads_its_own_list(tmp_path: Path) -> None:
    for name, item in (("acme", "Kettle"), ("globex", "Toaster")):
        (tmp_path / f"{name}.csv").write_text(HEADER + f"A-1001,Ada,{item},shipped,\n")
    acme = await ask(name="acme", orders_file=tmp_path / "acme.csv")
    globex = await ask(name="globex", orders_file=tmp_path / "globex.csv")
    assert "Kettle" in acme.message.content
    assert "Toaster" in globex.message.content


def test_the_plugin_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(tenantry_orders.__file__).read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or node.names[0].name for node in nodes}
    ours = {"tenancy", "tools", "knowledge", "graph", "storage", "server"}
    assert not ours & {name.split(".")[0] for name in names}
