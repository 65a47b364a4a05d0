"""What the gate needs to prove to a tool on whose behalf, and over whom, it is called."""

from typing import Protocol

from tenancy.component import ActorChain
from tenancy.ids import TenantId
from tenancy.principal import Scope


class Edge(Protocol):
    """The edge between the graph and the tools; both sides raise `NotAuthenticated`."""

    def delegate(self, token: str, tenant_id: TenantId, tool: str, scopes: frozenset[Scope]) -> str:
        """As the graph: narrow a run's transaction token to one tool of the tenant."""
        ...

    def verify(
        self, token: str, tenant_id: TenantId, tool: str, scopes: frozenset[Scope]
    ) -> ActorChain:
        """As the tool: check what it is shown; returns who acts, the tool included."""
        ...
