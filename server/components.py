"""The components of this process: the server, and the graph that it runs, each with its key."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from server.component_keys import ComponentKey, load_key, new_key, registry
from server.refusal import BadCredential
from server.transaction_claims import LIFE_SECONDS
from server.transaction_tokens import TransactionTokens
from tenancy.component import ActorChain, ComponentId, Deployment, Kind
from tenancy.errors import Misconfigured
from tenancy.ids import RunId, TenantId
from tenancy.principal import Principal, Scope

log = structlog.get_logger()


class Components:
    """Starts transactions as the server, passes them on as the graph, checks them as a tool.

    Implements the port `Edge` of the tools.
    """

    def __init__(
        self, server: ComponentKey, graph: ComponentKey, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._server = server
        self._graph = graph
        self._tokens = TransactionTokens(registry([server.public, graph.public]), clock=clock)
        self._clock = clock

    @classmethod
    def of(cls, deployment: Deployment, keys: Path | None = None) -> "Components":
        """With the keys in a folder, or with keys that live as long as this process.

        Raises `Misconfigured`.
        """
        make = new_key if keys is None else _reader(keys)
        server, graph = (ComponentId(deployment, kind) for kind in (Kind.SERVER, Kind.GRAPH))
        return cls(make(server), make(graph))

    def begin(self, principal: Principal, run_id: RunId) -> "Transaction":
        """A run's transaction: its first token is minted now."""
        transaction = Transaction(self, principal, run_id)
        transaction.token()
        return transaction

    def mint(self, principal: Principal, run_id: RunId) -> tuple[str, float]:
        """A token from the server to the graph, and when to ask for the next."""
        token = self._tokens.mint(self._server, self._graph.component, principal, run_id)
        return token, self._clock() + LIFE_SECONDS / 2

    def is_past(self, instant: float) -> bool:
        """Whether the clock that tokens are made by has reached `instant`."""
        return self._clock() >= instant

    def delegate(self, token: str, tenant_id: TenantId, tool: str, scopes: frozenset[Scope]) -> str:
        """As the graph: a run's token, narrowed to one tool. Raises `BadCredential`."""
        try:
            return self._tokens.delegate(self._graph, token, self._tool(tenant_id, tool), scopes)
        except BadCredential as error:
            log.error("delegation_refused", tool=tool, reason=error.reason)
            raise

    def verify(
        self, token: str, tenant_id: TenantId, tool: str, scopes: frozenset[Scope]
    ) -> ActorChain:
        """As the tool: who acts, the tool included. Raises `BadCredential`."""
        try:
            shown = self._tokens.verify(token, self._tool(tenant_id, tool))
            if not scopes <= shown.scopes:
                raise BadCredential("the token lacks the tool's scope")
        except BadCredential as error:
            log.error("component_refused", tool=tool, reason=error.reason)
            raise
        return shown.received

    def at_server(self, principal: Principal) -> ActorChain:
        """Who acts when the server does something itself."""
        return ActorChain(principal.credential, (self._server.component,))

    def at_graph(self, principal: Principal) -> ActorChain:
        """Who acts when a run does something."""
        return self.at_server(principal).then(self._graph.component)

    def _tool(self, tenant_id: TenantId, name: str) -> ComponentId:
        return ComponentId(self._server.component.deployment, Kind.TOOL, tenant_id, name)


def _reader(folder: Path) -> Callable[[ComponentId], ComponentKey]:
    def read(component: ComponentId) -> ComponentKey:
        file = folder / f"{component.short}.pem"
        try:
            return load_key(component, file.read_bytes())
        except OSError as error:
            raise Misconfigured(f"{file} cannot be read: {error.strerror}") from None

    return read


@dataclass(slots=True, repr=False)
class Transaction:
    """One run towards its components. It is never stored: its token speaks for the caller."""

    _components: Components
    _principal: Principal
    _run_id: RunId
    _token: str = ""
    _renewed_at: float = 0.0

    @property
    def actors(self) -> ActorChain:
        """Who acts when the run does."""
        return self._components.at_graph(self._principal)

    def token(self) -> str:
        """The run's token as the graph holds it, with half of its life or more before it."""
        if self._components.is_past(self._renewed_at):
            self._token, self._renewed_at = self._components.mint(self._principal, self._run_id)
        return self._token
