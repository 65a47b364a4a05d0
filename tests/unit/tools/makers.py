"""Small makers for the tests of `tools`."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

from langchain_core.messages import ToolCall
from langchain_core.tools import BaseTool, tool

from server.components import Components
from tenancy.component import parse_deployment
from tenancy.document import Passage
from tenancy.ids import DocumentId, PassageId, RunId, SubjectId, TenantId
from tenancy.plan import FREE, PRO, Plan
from tenancy.principal import SCOPES_OF_ROLE, Principal, Role, Scope
from tenancy.tenant import Tenant, TenantStatus, ToolSetting
from tools.catalogue import Catalogue, Source, ToolFactory
from tools.edge import Edge
from tools.gate import Gate
from tools.spec import spec_of
from tools.threads import Threads
from tools.toolbox import Toolbox, Toolboxes

ACME, GLOBEX = TenantId("acme"), TenantId("globex")
HOUSE = Components.of(parse_deployment("tests.example"))


def tenant(
    name: str = "acme", plan: Plan = PRO, tools: Mapping[str, ToolSetting] | None = None
) -> Tenant:
    return Tenant(TenantId(name), name, TenantStatus.ACTIVE, plan, "first", tools=tools or {})


def free_tenant(name: str = "globex", **tools: ToolSetting) -> Tenant:
    return tenant(name, FREE, tools)


def on(**configuration: str) -> ToolSetting:
    return ToolSetting(True, configuration)


def off() -> ToolSetting:
    return ToolSetting(False)


def principal(
    name: str = "acme", role: Role = Role.MEMBER, scopes: frozenset[Scope] | None = None
) -> Principal:
    held = SCOPES_OF_ROLE[role] if scopes is None else scopes
    return Principal(TenantId(name), SubjectId("someone"), role, held, "key")


def gate(threads: Threads | None = None, edge: Edge = HOUSE) -> Gate:
    return Gate(edge, threads)


def token(name: str = "acme", scopes: frozenset[Scope] | None = None) -> str:
    """A run's transaction token, as the graph holds it."""
    return HOUSE.begin(principal(name, scopes=scopes), RunId(uuid4())).token()


def named(name: str, description: str = "Does nothing.", **metadata: Any) -> BaseTool:
    @tool(name, description=description)
    async def nothing() -> str:
        return "nothing"

    nothing.metadata = metadata or None
    return nothing


def always(*made: BaseTool) -> ToolFactory:
    return lambda tenant: list(made)


def plugin(*made: BaseTool, factory: ToolFactory | None = None, label: str = "plugin 1") -> Source:
    specs = {each.name: spec_of(each, built_in=False, source=label) for each in made}
    return Source(label, factory or always(*made), specs)


def catalogue(built_ins: list[BaseTool], plugins: list[Source] | None = None) -> Catalogue:
    specs = {each.name: spec_of(each, built_in=True, source="built-in") for each in built_ins}
    return Catalogue([Source("built-in", always(*built_ins), specs), *(plugins or [])])


def toolbox(*made: BaseTool, tools: Mapping[str, ToolSetting] | None = None) -> Toolbox:
    return Toolboxes(catalogue(list(made))).of(tenant(tools=tools), principal())


def call(name: str, /, **args: Any) -> ToolCall:
    return ToolCall(name=name, args=args, id="call-1", type="tool_call")


def passage(tenant_id: TenantId = ACME, text: str = "Ships in 3 days.") -> Passage:
    document = DocumentId(UUID(int=1))
    return Passage(tenant_id, PassageId(uuid4()), document, "Shipping", text, 0.8)
