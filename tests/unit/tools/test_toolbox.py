from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.tools import BaseTool

from tenancy.errors import TenantMismatch
from tenancy.plan import FREE, PRO
from tenancy.principal import Role, Scope
from tests.unit.tools.makers import (
    catalogue,
    free_tenant,
    named,
    off,
    on,
    plugin,
    principal,
    tenant,
    toolbox,
)
from tools.toolbox import MANY, Toolboxes

BUILT_INS = [named("current_time"), named("search_documents", scope="search")]


def toolboxes() -> Toolboxes:
    return Toolboxes(catalogue(BUILT_INS, [plugin(named("order_status"))]))


def test_built_in_tools_are_on_and_plugins_off_until_enabled() -> None:
    assert toolboxes().of(tenant(), principal()).names() == ("current_time", "search_documents")


def test_a_tenants_settings_turn_tools_on_and_off() -> None:
    record = tenant(tools={"order_status": on(), "current_time": off()})
    assert toolboxes().of(record, principal()).names() == ("search_documents", "order_status")


def test_a_configured_plugin_is_not_thereby_enabled() -> None:
    configured = replace(on(orders_file="x"), enabled=None)
    assert (
        "order_status"
        not in toolboxes().of(tenant(tools={"order_status": configured}), principal()).names()
    )


def test_the_free_plan_has_no_plugins_even_when_enabled() -> None:
    record = free_tenant(order_status=on())
    assert "order_status" not in toolboxes().of(record, principal("globex")).names()


def test_a_plan_that_names_tools_entitles_to_those_alone() -> None:
    narrow = replace(FREE, tools=("order_status",))
    record = tenant(plan=narrow, tools={"order_status": on()})
    assert toolboxes().of(record, principal()).names() == ("order_status",)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.SERVICE, Role.OPERATOR])
def test_a_role_without_tools_use_has_no_tool(role: Role) -> None:
    assert toolboxes().of(tenant(), principal(role=role)).names() == ()


def test_a_scope_of_the_tools_own_is_needed_as_well() -> None:
    only_use = principal(scopes=frozenset({Scope.CHAT, Scope.TOOLS_USE}))
    assert toolboxes().of(tenant(), only_use).names() == ("current_time",)


def test_a_scope_of_the_tools_own_never_replaces_tools_use() -> None:
    only_search = principal(scopes=frozenset({Scope.CHAT, Scope.SEARCH}))
    assert toolboxes().of(tenant(), only_search).names() == ()


def test_a_principal_gets_no_other_tenants_tools() -> None:
    with pytest.raises(TenantMismatch):
        toolboxes().of(tenant("acme"), principal("globex"))
    with pytest.raises(TenantMismatch):
        toolboxes().listing(tenant("acme"), principal("globex"))


def test_a_tool_that_could_not_be_built_is_not_in_the_toolbox() -> None:
    def fails(mapping: Mapping[str, Any]) -> list[BaseTool]:
        raise ValueError

    shelf = catalogue(BUILT_INS, [plugin(named("order_status"), factory=fails)])
    box = Toolboxes(shelf).of(tenant(tools={"order_status": on()}), principal())
    assert box.names() == ("current_time", "search_documents")


class Counting:
    def __init__(self) -> None:
        self.builds: list[str] = []

    def __call__(self, mapping: Mapping[str, Any]) -> list[BaseTool]:
        self.builds.append(mapping["tenant_id"])
        return [named("counted")]


def counted(capacity: int = 8) -> tuple[Counting, Toolboxes]:
    factory = Counting()
    shelf = catalogue([], [plugin(named("counted"), factory=factory)])
    return factory, Toolboxes(shelf, capacity=capacity)


def test_tools_are_built_once_and_again_when_their_settings_change() -> None:
    factory, boxes = counted()
    record = tenant(tools={"counted": on()})
    first = boxes.of(record, principal()).tools()
    assert boxes.of(record, principal(role=Role.ADMIN)).tools() == first
    assert factory.builds == ["acme"]
    boxes.of(replace(record, display_name="Acme"), principal())  # read anew, every second
    assert factory.builds == ["acme"]
    boxes.of(tenant(tools={"counted": on(colour="red")}), principal())
    assert factory.builds == ["acme", "acme"]


def test_two_tenants_never_share_built_tools() -> None:
    factory, boxes = counted()
    ours = boxes.of(tenant("acme", tools={"counted": on()}), principal("acme")).tools()
    theirs = boxes.of(tenant("globex", tools={"counted": on()}), principal("globex")).tools()
    assert ours[0] is not theirs[0]
    assert factory.builds == ["acme", "globex"]


def test_the_least_recently_used_tenant_is_forgotten_first() -> None:
    factory, boxes = counted(capacity=2)
    records = {name: tenant(name, tools={"counted": on()}) for name in ("a", "b", "c")}
    for name in ("a", "b", "a", "c", "a", "b"):
        boxes.of(records[name], principal(name))
    assert factory.builds == ["a", "b", "c", "b"]


def test_the_listing_shows_what_the_plan_includes_and_what_is_on() -> None:
    listed = toolboxes().listing(tenant(), principal(role=Role.VIEWER))
    assert [(each.name, each.enabled, each.scope.value) for each in listed] == [
        ("current_time", True, "tools:use"),
        ("search_documents", True, "search"),
        ("order_status", False, "tools:use"),
    ]


def test_the_listing_is_silent_about_tools_of_other_plans() -> None:
    listed = toolboxes().listing(free_tenant(order_status=on()), principal("globex"))
    assert "order_status" not in [each.name for each in listed]


def test_only_names_in_the_toolbox_become_tools() -> None:
    box = toolbox(named("one"), named("two"))
    assert [each.name for each in box.tools(["two", "gone"])] == ["two"]


def many() -> list[BaseTool]:
    plain = [named(f"tool_{n}", description="Look up a thing.") for n in range(MANY)]
    return [*plain, named("refund_order", description="Give the money of an order back.")]


def test_few_tools_are_all_shown() -> None:
    box = toolbox(*many()[1:])
    assert box.closest("refund the order", limit=1) == box.names()


def test_of_many_tools_the_closest_to_the_question_come_first() -> None:
    box = toolbox(*many())
    assert box.closest("Please REFUND my order", limit=3) == ("refund_order", "tool_0", "tool_1")


def test_a_rare_word_counts_for_more_than_a_common_one() -> None:
    box = toolbox(*many())
    assert box.closest("look up a thing or refund", limit=1) == ("refund_order",)


def test_without_a_shared_word_the_catalogues_order_stands() -> None:
    box = toolbox(*many())
    assert box.closest("") == box.names()[:MANY]


def test_pro_includes_every_tool() -> None:
    assert PRO.allows_tool("order_status", built_in=False)
