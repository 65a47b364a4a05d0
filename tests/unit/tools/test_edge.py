"""A tool is called only with a token that is its own."""

from typing import Any
from uuid import UUID

import pytest
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.tools import BaseTool, tool

from server.components import Components
from tenancy.component import parse_deployment
from tenancy.errors import NotAuthenticated
from tenancy.ids import RunId
from tenancy.principal import Role, Scope
from tests.unit.tools.makers import (
    ACME,
    GLOBEX,
    HOUSE,
    call,
    catalogue,
    gate,
    principal,
    tenant,
    token,
    toolbox,
)
from tools.outcome import ToolOutcome
from tools.toolbox import Toolboxes

RUN = RunId(UUID(int=1))


async def called(tool_: BaseTool) -> ToolOutcome:
    return await gate().run(call(tool_.name), toolbox(tool_), tenant_id=ACME, token=token())


def telling(seen: list[Any], *, in_thread: bool = False) -> BaseTool:
    def tell(config: RunnableConfig) -> str:
        """Tells what it was given."""
        seen.append(config)
        return "told"

    async def atell(config: RunnableConfig) -> str:
        """Tells what it was given."""
        return tell(config)

    return tool("tells")(tell) if in_thread else tool("tells")(atell)


@pytest.mark.parametrize("in_thread", [False, True])
async def test_a_tool_is_given_a_token_that_only_it_may_show(in_thread: bool) -> None:
    seen: list[Any] = []
    outcome = await called(telling(seen, in_thread=in_thread))
    own = seen[0]["configurable"]["transaction_token"]()
    assert str(outcome.actors) == "key > server > graph > tool/tells"
    assert HOUSE.verify(own, ACME, "tells", frozenset({Scope.TOOLS_USE})) == outcome.actors
    for tenant_id, name in ((ACME, "other"), (GLOBEX, "tells")):
        with pytest.raises(NotAuthenticated):
            HOUSE.verify(own, tenant_id, name, frozenset())


async def test_no_token_is_in_what_a_tool_is_traced_with() -> None:
    seen: list[Any] = []
    await called(telling(seen))
    inside = ensure_config(seen[0])  # as a chain or model inside of the tool would be called
    assert inside["configurable"]["transaction_token"]() not in str(inside)


SCOPED = {"scope": "threads:all"}


@pytest.mark.parametrize(
    ("shown", "metadata"),
    [
        (lambda: "", None),
        (lambda: "a.b.c", None),
        (lambda: token("globex"), None),
        (lambda: token(scopes=frozenset({Scope.CHAT})), None),
        (token, SCOPED),
        (lambda: token(scopes=frozenset({Scope.THREADS_ALL})), SCOPED),
        (
            lambda: Components.of(parse_deployment("else.where")).begin(principal(), RUN).token(),
            None,
        ),
        (lambda: HOUSE.delegate(token(), ACME, "tells", frozenset({Scope.TOOLS_USE})), None),
    ],
    ids=[
        "none",
        "noise",
        "tenant",
        "scope",
        "tool's scope",
        "no tools:use",
        "deployment",
        "a tool's own",
    ],
)
async def test_without_a_token_for_it_a_tool_is_not_called(shown: Any, metadata: Any) -> None:
    seen: list[Any] = []
    tells = telling(seen)
    tells.metadata = metadata
    box = Toolboxes(catalogue([tells])).of(tenant(), principal(role=Role.ADMIN))
    outcome = await gate().run(call("tells"), box, tenant_id=ACME, token=shown())
    assert (outcome.status, outcome.actors, seen) == ("refused", None, [])
    assert outcome.message.content == "The tool `tells` takes no call from this run."


async def test_with_just_what_it_needs_a_tool_is_called() -> None:
    seen: list[Any] = []
    tells = telling(seen)
    tells.metadata = SCOPED
    box = Toolboxes(catalogue([tells])).of(tenant(), principal(role=Role.ADMIN))
    enough = token(scopes=frozenset({Scope.TOOLS_USE, Scope.THREADS_ALL}))
    outcome = await gate().run(call("tells"), box, tenant_id=ACME, token=enough)
    assert (outcome.status, len(seen)) == ("ok", 1)


class Lenient(Components):
    """A graph that shows every tool the same token."""

    def delegate(self, *asked: Any) -> str:
        return super().delegate(asked[0], ACME, "another", frozenset({Scope.TOOLS_USE}))


async def test_a_tool_looks_itself_at_what_it_is_shown() -> None:
    seen: list[Any] = []
    here = Lenient.of(parse_deployment("tests.example"))
    shown = here.begin(principal(), RUN).token()
    box = toolbox(telling(seen))
    outcome = await gate(edge=here).run(call("tells"), box, tenant_id=ACME, token=shown)
    assert (outcome.status, seen) == ("refused", [])
