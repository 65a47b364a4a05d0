from graphlib import TopologicalSorter
from itertools import product

import pytest

from tenancy.component import (
    EDGES,
    ActorChain,
    ComponentId,
    Kind,
    parse_component,
    parse_deployment,
)
from tenancy.errors import Invalid
from tenancy.ids import TenantId

HERE = parse_deployment("agents.example")
SERVER, GRAPH = ComponentId(HERE, Kind.SERVER), ComponentId(HERE, Kind.GRAPH)
LOOKUP = ComponentId(HERE, Kind.TOOL, TenantId("acme"), "lookup_order")


@pytest.mark.parametrize(
    ("text", "component"),
    [
        ("spiffe://agents.example/server", SERVER),
        ("spiffe://agents.example/graph", GRAPH),
        ("spiffe://agents.example/worker", ComponentId(HERE, Kind.WORKER)),
        ("spiffe://agents.example/tenant/acme/tool/lookup_order", LOOKUP),
        (
            "spiffe://agents.example/tenant/globex/mcp/Files-2",
            ComponentId(HERE, Kind.MCP, TenantId("globex"), "Files-2"),
        ),
    ],
)
def test_an_id_is_read_as_it_is_printed(text: str, component: ComponentId) -> None:
    assert parse_component(text) == component
    assert str(component) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            1,
            [],
            "",
            "graph",
            "spiffe://",
            "spiffe:///graph",
            "SPIFFE://agents.example/graph",
        ),
        *("spiffe://Agents.example/graph", "spiffe://agents.example/", "spiffe://a b/graph"),
        *("spiffe://agents.example/graph/", "spiffe://agents.example//graph", "http://a/graph"),
        *("spiffe://agents.example/Graph", "spiffe://agents.example/tool", "spiffe://a/mcp/files"),
        *("spiffe://a/tenant/acme/graph", "spiffe://a/tenant/acme/tool", "spiffe://a/tenant/acme"),
        *(
            "spiffe://a/tenant/acme/tool/",
            "spiffe://a/tenant//tool/x",
            "spiffe://a/tenant/A/tool/x",
        ),
        *(
            "spiffe://a/tenant/acme/tool/x/y",
            "spiffe://a/tenant/acme/tool/..",
            "spiffe://a/graph\n",
        ),
        *(
            "spiffe://a/tenant/acme/tool/x\n",
            "spiffe://a/tenant/acme/graph/x",
            "spiffe://a/graph?x",
        ),
        *("spiffe://a:1/graph", "spiffe://u@a/graph", "spiffe://a/tenant/acme/tool/%61"),
        *("spiffe://a/tenant/acme\n/tool/x", "spiffe://a/tenant/acme/tool/" + "x" * 65),
    ],
)
def test_an_id_has_one_spelling(text: object) -> None:
    with pytest.raises(Invalid):
        parse_component(text)


def test_no_edge_leads_to_another_tenant_or_deployment() -> None:
    tenants, places = (TenantId("acme"), TenantId("globex")), (HERE, parse_deployment("else"))
    files = [ComponentId(at, Kind.MCP, who, "files") for at, who in product(places, tenants)]
    assert [each for each in files if LOOKUP.may_call(each)] == files[:1]
    assert [each for each in files if GRAPH.may_call(each)] == files[:2]


def test_a_component_of_no_tenant_has_no_name_and_one_of_a_tenant_has_both() -> None:
    for kind, tenant, name in product(Kind, (None, TenantId("acme")), ("", "x")):
        whole = bool(tenant and name) if kind in (Kind.TOOL, Kind.MCP) else not tenant and not name
        if whole:
            assert ComponentId(HERE, kind, tenant, name)
        else:
            with pytest.raises(Invalid):
                ComponentId(HERE, kind, tenant, name)


@pytest.mark.parametrize("name", ["", "A.example", "-a", "a/b", "a b", "a" * 64, "a\n", None, 1])
def test_a_deployments_name_is_a_trust_domain(name: object) -> None:
    with pytest.raises(Invalid):
        parse_deployment(name)


def test_no_way_is_longer_than_three_steps() -> None:
    longest: dict[Kind, int] = {}
    for kind in TopologicalSorter(EDGES).static_order():  # raises for a cycle
        longest[kind] = max((longest[to] + 1 for to in EDGES[kind]), default=0)
    assert max(longest.values()) == 3


def test_a_chain_is_printed_from_the_credential_on() -> None:
    chain = ActorChain("issuer:https://id.acme.example/").then(SERVER).then(GRAPH).then(LOOKUP)
    assert str(chain) == "issuer:https://id.acme.example/ > server > graph > tool/lookup_order"


def test_a_credential_cannot_pretend_to_be_a_chain() -> None:
    chain = ActorChain("issuer:https://x/ > server > graph").then(SERVER)
    assert str(chain) == "issuer:https://x/ %3E server %3E graph > server"
