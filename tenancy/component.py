"""The components of a deployment, which of them may call which, and the chain of who acted."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NewType

from tenancy.errors import Invalid
from tenancy.ids import NAME, TenantId

Deployment = NewType("Deployment", str)


class Kind(StrEnum):
    """What a component is."""

    SERVER = "server"
    GRAPH = "graph"
    WORKER = "worker"
    TOOL = "tool"
    MCP = "mcp"


OF_A_TENANT = frozenset({Kind.TOOL, Kind.MCP})  # each tenant has its own; the others serve all
STARTS = frozenset({Kind.SERVER})  # a transaction begins where a credential was verified

# Without a cycle: no chain is longer than its longest way, server > graph > tool > mcp.
EDGES: dict[Kind, frozenset[Kind]] = {
    Kind.SERVER: frozenset({Kind.GRAPH, Kind.WORKER}),
    Kind.GRAPH: frozenset({Kind.TOOL, Kind.MCP, Kind.WORKER}),
    Kind.TOOL: frozenset({Kind.MCP}),
    Kind.WORKER: frozenset(),
    Kind.MCP: frozenset(),
}

DEPLOYMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")  # a trust domain of SPIFFE, kept short
PART = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")  # what a tool may be called
SCHEME = "spiffe://"
MAX_CREDENTIAL_CHARACTERS = 600  # an issuer's URL has 512 at most


@dataclass(frozen=True, slots=True)
class ComponentId:
    """A component's name in its deployment. `name` and `tenant_id` are a tool's or MCP server's."""

    deployment: Deployment
    kind: Kind
    tenant_id: TenantId | None = None
    name: str = ""

    def __post_init__(self) -> None:
        whole = self.tenant_id is not None and PART.match(self.name)
        plain = self.tenant_id is None and not self.name
        if not (whole if self.kind in OF_A_TENANT else plain):
            raise Invalid("component", "a tool or MCP server has a tenant and a name, no other has")

    def __str__(self) -> str:
        tenant = "" if self.tenant_id is None else f"tenant/{self.tenant_id}/"
        return f"{SCHEME}{self.deployment}/{tenant}{self.short}"

    @property
    def short(self) -> str:
        """The name inside deployment and tenant: `graph`, `tool/lookup_order`."""
        return f"{self.kind}/{self.name}" if self.name else self.kind.value

    def may_call(self, other: "ComponentId") -> bool:
        """Whether an edge leads from this component to `other`: never into another tenant."""
        if other.kind not in EDGES[self.kind] or other.deployment != self.deployment:
            return False
        return self.tenant_id in (None, other.tenant_id)


def parse_deployment(text: object) -> Deployment:
    """Return `text` as a deployment's name; raises `Invalid`."""
    if isinstance(text, str) and DEPLOYMENT.match(text):
        return Deployment(text)
    raise Invalid("deployment", "must match [a-z0-9][a-z0-9._-]{0,62}")


def parse_component(text: object) -> ComponentId:
    """Return `text` as a component's id, in its one spelling; raises `Invalid` for any other."""
    if not isinstance(text, str) or not text.startswith(SCHEME):
        raise _fault()
    match text.removeprefix(SCHEME).split("/"):
        case [deployment, kind]:
            return ComponentId(parse_deployment(deployment), _kind(kind))
        case [deployment, "tenant", tenant, kind, name] if NAME.match(tenant):
            return ComponentId(parse_deployment(deployment), _kind(kind), TenantId(tenant), name)
    raise _fault()


def _kind(text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        raise _fault() from None


def _fault() -> Invalid:
    return Invalid("component", "must be like spiffe://deployment/graph or …/tenant/acme/tool/name")


@dataclass(frozen=True, slots=True)
class ActorChain:
    """Who acted: the credential that vouched for the caller, then each component on the way."""

    credential: str
    components: tuple[ComponentId, ...] = ()

    def then(self, component: ComponentId) -> "ActorChain":
        """The chain as it goes on with `component`."""
        return replace(self, components=(*self.components, component))

    def __str__(self) -> str:
        """As the audit has it: `issuer:https://id.example/ > server > graph > tool/lookup`."""
        credential = self.credential.replace(">", "%3E")  # one that could continue the chain
        return " > ".join([credential, *(each.short for each in self.components)])


def parse_credential(text: object) -> str:
    """Return `text` as what vouched for a caller; raises `Invalid`."""
    if isinstance(text, str) and 0 < len(text) <= MAX_CREDENTIAL_CHARACTERS and text.isprintable():
        return text
    raise Invalid("credential", f"must be 1 to {MAX_CREDENTIAL_CHARACTERS} printable characters")
