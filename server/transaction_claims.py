"""What a transaction token says, typed, and the rules that it keeps towards its parent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from server.refusal import BadCredential
from tenancy.component import (
    STARTS,
    ActorChain,
    ComponentId,
    parse_component,
    parse_credential,
)
from tenancy.errors import Invalid
from tenancy.ids import RunId, SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import TENANT_SCOPES, Scope

LIFE_SECONDS = 120  # renewed at half of it, so a tool's lasts twice a tool's usual time-out
NAMES = frozenset({"iss", "aud", "sub", "tenant_id", "scope", "txn", "iat", "exp", "act"})
END_OF_DATES = 253402300800  # the year 10000
SCOPES = {scope.value: scope for scope in TENANT_SCOPES}


@dataclass(frozen=True, slots=True)
class TransactionToken:
    """One step of a transaction: `issuer` calls `audience` on behalf of a tenant's subject.

    Dates are whole seconds since 1970. `actors` ends with the issuer.
    """

    issuer: ComponentId
    audience: ComponentId
    tenant_id: TenantId
    subject_id: SubjectId
    scopes: frozenset[Scope]
    run_id: RunId
    issued_at: int
    expires_at: int
    actors: ActorChain
    parent: "TransactionToken | None" = None
    parent_text: str | None = field(default=None, repr=False)

    @property
    def received(self) -> ActorChain:
        """The chain with the component that was called at its end."""
        return self.actors.then(self.audience)

    def require_whole(self) -> None:
        """Raise `BadCredential` unless this is a step that its issuer may take."""
        _require(self.issuer.may_call(self.audience), "no edge leads to the component")
        own = self.audience.tenant_id in (None, self.tenant_id)
        _require(own, "the component is another tenant's")
        _require(0 < self.expires_at - self.issued_at <= LIFE_SECONDS, "the token lives too long")
        if self.parent is None:
            _require(self.issuer.kind in STARTS, "the issuer starts no transactions")
            _require(self.actors.components == (self.issuer,), "the actor chain is not whole")
        else:
            self._require_within(self.parent)

    def _require_within(self, parent: "TransactionToken") -> None:
        _require(parent.audience == self.issuer, "the parent is another component's")
        _require(parent.tenant_id == self.tenant_id, "the tenant differs from the parent's")
        _require(parent.subject_id == self.subject_id, "the subject differs from the parent's")
        _require(parent.run_id == self.run_id, "the transaction differs from the parent's")
        _require(self.scopes <= parent.scopes, "the scope is wider than the parent's")
        _require(self.issued_at >= parent.issued_at, "the token is older than its parent")
        _require(self.expires_at <= parent.expires_at, "the token outlives its parent")
        _require(self.actors == parent.actors.then(self.issuer), "the actor chain is not whole")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadCredential(otherwise)


def plain_claims(token: TransactionToken) -> dict[str, Any]:
    """The token's claims as JSON has them."""
    claims: dict[str, Any] = {
        "iss": str(token.issuer),
        "aud": str(token.audience),
        "sub": token.subject_id,
        "tenant_id": token.tenant_id,
        "scope": _spelt(token.scopes),
        "txn": str(token.run_id),
        "iat": token.issued_at,
        "exp": token.expires_at,
        "act": _plain_act(token.actors),
    }
    return claims if token.parent_text is None else {**claims, "par": token.parent_text}


def _plain_act(actors: ActorChain) -> dict[str, Any]:
    act: dict[str, Any] = {"sub": actors.credential}
    for each in actors.components:
        act = {"sub": str(each), "act": act}
    return act


def parse_transaction(
    claims: Mapping[str, Any], prove: Callable[[str], TransactionToken]
) -> TransactionToken:
    """The claims, each in its one form; `prove` proves the parent. Raises `BadCredential`."""
    _require(claims.keys() - {"par"} == NAMES, "a claim is missing, or one too many")
    try:
        return TransactionToken(
            issuer=parse_component(claims["iss"]),
            audience=parse_component(claims["aud"]),
            tenant_id=parse_tenant_id(claims["tenant_id"]),
            subject_id=parse_subject_id(claims["sub"]),
            scopes=_scopes(claims["scope"]),
            run_id=_run_id(claims["txn"]),
            issued_at=_date(claims["iat"]),
            expires_at=_date(claims["exp"]),
            actors=_actors(claims["act"]),
            **_parent(claims, prove),
        )
    except Invalid as error:
        raise BadCredential(f"the claim of the {error.field} is not one") from None


def _parent(claims: Mapping[str, Any], prove: Callable[[str], TransactionToken]) -> dict[str, Any]:
    if "par" not in claims:
        return {}
    text = claims["par"]
    _require(isinstance(text, str), "the parent is no token")
    return {"parent": prove(text), "parent_text": text}


def _scopes(text: object) -> frozenset[Scope]:
    words = text.split(" ") if isinstance(text, str) and text else []
    scopes = frozenset(SCOPES[word] for word in words if word in SCOPES)
    if text != _spelt(scopes):  # each once, in order, and none that is unknown
        raise Invalid("scope", "must be known scopes in alphabetical order")
    return scopes


def _spelt(scopes: frozenset[Scope]) -> str:
    return " ".join(sorted(scopes))


def _run_id(text: object) -> RunId:
    try:
        run_id = UUID(text) if isinstance(text, str) else None
    except ValueError:
        run_id = None
    if run_id is None or str(run_id) != text:
        raise Invalid("transaction", "must be a UUID")
    return RunId(run_id)


def _date(value: object) -> int:
    if type(value) is not int or not 0 <= value < END_OF_DATES:  # True is an int, too
        raise Invalid("date", "must be whole seconds")
    return value


def _actors(act: object) -> ActorChain:
    components: list[ComponentId] = []
    while isinstance(act, dict) and act.keys() == {"sub", "act"}:
        components.append(parse_component(act["sub"]))
        act = act["act"]
    if not isinstance(act, dict) or act.keys() != {"sub"}:
        raise Invalid("actor chain", "must end in a credential")
    return ActorChain(parse_credential(act["sub"]), tuple(reversed(components)))
