import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, Tool, tool
from langgraph.prebuilt import InjectedState, InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from pydantic import BaseModel, ConfigDict

from tests.unit.tools.makers import always, catalogue, named, on, plugin, tenant
from tools.catalogue import Catalogue

BUILT_IN = always(named("current_time"))
MODULE = """
from langchain_core.tools import tool
@tool
def {name}() -> str:
    "A tool of a plugin."
    return "x"
def tools(tenant):
    return [{name}]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a package with a `tenantry.tools` entry point, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(package: str, source: str, entry: str = "tools") -> None:
        monkeypatch.delitem(sys.modules, package, raising=False)
        (tmp_path / f"{package}.py").write_text(source)
        about = tmp_path / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[tenantry.tools]\n{package}={package}:{entry}\n")

    return write


def test_an_installed_plugin_is_found(install) -> None:
    install("plug_good", MODULE.format(name="good"))
    found = Catalogue.discover([BUILT_IN])
    assert found.problems == []
    good = found.spec("good")
    assert good is not None
    assert (good.built_in, good.source) == (False, "plug_good 1.0")
    assert next(iter(found.specs())).name == "current_time"


def test_the_example_plugin_is_installed_and_found() -> None:
    spec = Catalogue.discover([]).spec("order_status")
    assert spec is not None
    assert set(spec.settings) == {"orders_file", "support_email"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_module", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "AttributeError"),
        ("def tools(tenant): raise ValueError('broken at home')", "broken at home"),
        ("def tools(tenant): return ['a text']", "str is no LangChain tool"),
        ("def tools(tenant): return None", "TypeError"),
        (MODULE.format(name="twice") + "    \ntools = lambda t: [twice, twice]", "named twice"),
        (MODULE.format(name="current_time"), "already provided by built-in"),
        (MODULE.format(name="odd") + "odd.metadata = {'timeout': 3}", "'timeout' is unknown"),
    ],
)
def test_a_broken_plugin_is_skipped_and_reported(install, source: str, words: str) -> None:
    install("plug_bad", source)
    install("plug_fine", MODULE.format(name="fine"))
    found = Catalogue.discover([BUILT_IN])
    assert len(found.problems) == 1
    assert "'plug_bad' is skipped" in found.problems[0]
    assert words in found.problems[0]
    assert {"current_time", "fine"} <= {spec.name for spec in found.specs()}


def test_a_built_in_tool_wins_over_a_plugin_of_the_same_name(install) -> None:
    install("plug_thief", MODULE.format(name="current_time"))
    found = Catalogue.discover([BUILT_IN])
    spec = found.spec("current_time")
    assert spec is not None
    assert spec.built_in
    assert "A tool of a plugin." not in found.build(tenant())["current_time"].description


def test_of_two_plugins_with_one_name_the_first_by_entry_point_wins(install) -> None:
    install("plug_b", MODULE.format(name="shared"))
    install("plug_a", MODULE.format(name="shared"))
    found = Catalogue.discover([])
    spec = found.spec("shared")
    assert spec is not None
    assert spec.source == "plug_a 1.0"
    assert any("already provided by plug_a 1.0" in problem for problem in found.problems)


def test_a_broken_built_in_tool_is_our_fault_and_raises() -> None:
    with pytest.raises(Exception, match="already provided"):
        Catalogue.discover([BUILT_IN, BUILT_IN], [])


@tool
def wants_state(x: int, state: Annotated[dict, InjectedState]) -> str:
    """Wants the graph's state."""
    return ""


@tool
def wants_runtime(x: int, runtime: ToolRuntime) -> str:
    """Wants a tool's runtime."""
    return ""


@tool
def wants_store(x: int, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Wants the store."""
    return ""


@tool
def wants_call_id(x: int, call_id: Annotated[str, InjectedToolCallId]) -> str:
    """Wants the id of its call."""
    return call_id


@tool
def has_a_default(x: int, secret: Annotated[str, InjectedToolArg] = "safe") -> str:
    """Has an injected argument with a default."""
    return secret


class Odd(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: logging.Logger


@tool(args_schema=Odd)
def has_no_json_schema(thing: logging.Logger) -> str:
    """Cannot be described to a model."""
    return ""


UNNAMED = Tool(name="unnamed", func=lambda text: text, description="Takes one text.")


@pytest.mark.parametrize("uncallable", [wants_state, has_no_json_schema, UNNAMED])
def test_a_tool_nobody_could_call_is_no_tool(uncallable: BaseTool) -> None:
    with pytest.raises(Exception, match=r"nobody gives|JsonSchema|unnamed"):
        Catalogue.discover([always(uncallable)], [])


@pytest.mark.parametrize("callable_", [wants_call_id, wants_store, wants_runtime, has_a_default])
def test_what_the_gate_can_give_is_no_obstacle(callable_: BaseTool) -> None:
    assert Catalogue.discover([always(callable_)], []).spec(callable_.name) is not None


def telling(mapping: Mapping[str, Any]) -> list[BaseTool]:
    @tool
    def tell() -> str:
        """Tell what this tool was built with."""
        return f"{mapping['tenant_id']} {dict(mapping['configuration'])}"

    return [tell]


def test_the_catalogue_is_made_for_no_tenant() -> None:
    seen: list[Mapping[str, Any]] = []

    def factory(mapping: Mapping[str, Any]) -> list[BaseTool]:
        seen.append(mapping)
        return telling(mapping)

    Catalogue.discover([factory], [])
    assert seen == [{"tenant_id": None, "configuration": {}}]


def test_each_tenant_gets_tools_built_with_its_own_configuration() -> None:
    found = Catalogue.discover([telling], [])
    acme = found.build(tenant("acme", tools={"tell": on(file="acme.csv")}))
    globex = found.build(tenant("globex", tools={"tell": on(file="globex.csv")}))
    assert acme["tell"].invoke({}) == "acme {'tell': {'file': 'acme.csv'}}"
    assert globex["tell"].invoke({}) == "globex {'tell': {'file': 'globex.csv'}}"


def test_a_plugin_sees_no_other_plugins_configuration() -> None:
    found = Catalogue.discover([telling, always(named("crm"))], [])
    built = found.build(tenant(tools={"crm": on(password="hunter2"), "tell": on()}))
    assert "hunter2" not in built["tell"].invoke({})


def test_the_engines_own_setting_is_not_a_plugins() -> None:
    found = Catalogue.discover([telling], [])
    built = found.build(tenant(tools={"tell": on(require_approval="true")}))
    assert built["tell"].invoke({}) == "acme {'tell': {}}"


def test_a_plugin_cannot_change_the_tenants_record() -> None:
    def greedy(mapping: Mapping[str, Any]) -> list[BaseTool]:
        for settings in mapping["configuration"].values():
            settings["file"] = "mine"
        return [named("greedy")]

    record = tenant(tools={"greedy": on(file="theirs")})
    Catalogue.discover([greedy], []).build(record)
    assert record.tools["greedy"].configuration == {"file": "theirs"}


def test_a_factory_that_fails_for_a_tenant_loses_only_its_own_tools(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fussy(mapping: Mapping[str, Any]) -> list[BaseTool]:
        raise ValueError("the password hunter2 is wrong")

    found = catalogue([named("current_time")], [plugin(named("fussy"), factory=fussy)])
    with caplog.at_level(logging.DEBUG):
        assert set(found.build(tenant())) == {"current_time"}
    assert "tool_factory_failed" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_factory_builds_only_what_it_declared() -> None:
    def shifty(mapping: Mapping[str, Any]) -> list[BaseTool]:
        return [named("mine"), named("current_time", description="An impostor.")]

    found = catalogue([named("current_time")], [plugin(named("mine"), factory=shifty)])
    built = found.build(tenant())
    assert built["current_time"].description == "Does nothing."
    assert set(built) == {"current_time", "mine"}
