"""How one issuer's tokens are read: which claims say what, and which values mean what."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from tenancy.errors import Invalid
from tenancy.ids import TenantId, parse_tenant_id
from tenancy.principal import ADMIN_SCOPES, Role, Scope

T = TypeVar("T")
Path = tuple[str, ...]
Scopes = frozenset[Scope]

SOLE = "*"  # in a path: the only member of an object, the only element of a list
MAX_STEPS = 8
MAX_VALUES = 10_000  # tenants or roles that one issuer's values may stand for
MAX_CHARACTERS = 512
WIDENING = (Role.VIEWER, Role.MEMBER, Role.SERVICE, Role.ADMIN, Role.OPERATOR)
ALGORITHMS = frozenset(
    {"ES256", "ES384", "ES512", "EdDSA"}
    | {f"{family}{bits}" for family in ("RS", "PS") for bits in (256, 384, 512)}
)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The claims an issuer says things in; without rules they are our own names and values.

    A path leads through nested objects to a claim; `*` is the only member there. A mapping of
    values, where there is one, is complete: a value that it lacks names no tenant or role.
    """

    tenant: Path = ("tenant_id",)
    subject: Path = ("sub",)
    role: Path = ("role",)
    audience: Path = ("aud",)
    scopes: tuple[Path, ...] = (("scope",), ("scopes",), ("permissions",))
    tenants: Mapping[str, TenantId] = field(default_factory=dict)
    roles: Mapping[str, Role | Scopes] = field(default_factory=dict)  # scopes: a custom role
    default_role: Role | None = None  # of a token without a role; None refuses it
    audiences: frozenset[str] = frozenset()  # accepted beside the issuer's own
    required: Mapping[str, frozenset[str]] = field(default_factory=dict)  # claim: its values
    types: frozenset[str] = frozenset({"jwt", "at+jwt"})  # of the header's typ, lower case
    algorithms: frozenset[str] = frozenset()  # none named: whatever its keys are made for


OURS = TokenRules()


def claim_at(claims: object, path: Path) -> object:
    """The claim that `path` leads to; None where there is none."""
    for step in path:
        if step == SOLE:
            claims = _sole(claims)
        else:
            claims = claims.get(step) if isinstance(claims, Mapping) else None
    return claims


def _sole(value: object) -> object:
    members = list(value) if isinstance(value, Mapping | list) else []
    return members[0] if len(members) == 1 else None


def widest(roles: Iterable[Role]) -> Role | None:
    """The role among `roles` that may do most; None for none."""
    return max(roles, key=WIDENING.index, default=None)


def parse_token_rules(document: object) -> TokenRules:
    """Read rules from JSON; raises `Invalid` naming the member at fault.

    Members are those of `TokenRules`. A path is a string (one claim of exactly this name) or a
    list of strings (a claim inside others).
    """
    members = _object(document, "rules")
    for name in members:
        if name not in _READERS:
            raise Invalid(f"rules.{name}", f"is none of {', '.join(_READERS)}")
    return TokenRules(**{n: _READERS[n](v, f"rules.{n}") for n, v in members.items()})


def token_rules_document(rules: TokenRules) -> dict[str, Any]:
    """What `parse_token_rules` reads back as `rules`; members as by default are left out."""
    return {
        each.name: _plain(value)
        for each in fields(TokenRules)
        if (value := getattr(rules, each.name)) != getattr(OURS, each.name)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _object(value: object, field: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Invalid(field, "must be an object")
    if len(value) > MAX_VALUES:
        raise Invalid(field, f"must have at most {MAX_VALUES} members")
    return value


def _text(value: object, field: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_CHARACTERS and value.isprintable():
        return value
    raise Invalid(field, f"must be 1 to {MAX_CHARACTERS} printable characters")


def _list(value: object, field: str, most: int = MAX_STEPS) -> list[object]:
    if isinstance(value, list) and len(value) <= most:
        return value
    raise Invalid(field, f"must be a list of at most {most}")


def _path(value: object, field: str) -> Path:
    if isinstance(value, str):
        return (_text(value, field),)
    steps = tuple(_text(step, field) for step in _list(value, field))
    if not steps or steps[0] == SOLE:
        raise Invalid(field, "must begin with the name of a claim")
    return steps


def _paths(value: object, field: str) -> tuple[Path, ...]:
    paths = tuple(_path(each, field) for each in _list(value, field))
    if any(SOLE in path for path in paths):  # a claim that is not there narrows nothing
        raise Invalid(field, f"must name each claim, without {SOLE}")
    return paths


def _words(value: object, field: str) -> frozenset[str]:
    return frozenset(_text(each, field) for each in _list(value, field, most=64))


def _types(value: object, field: str) -> frozenset[str]:
    types = frozenset(word.lower() for word in _words(value, field))
    if not types:
        raise Invalid(field, "must name at least one type")
    return types


def _algorithms(value: object, field: str) -> frozenset[str]:
    named = _words(value, field)
    if named - ALGORITHMS:
        raise Invalid(field, f"must be some of {', '.join(sorted(ALGORITHMS))}")
    return named


def _role(value: object, field: str) -> Role:
    try:
        return Role(value)  # type: ignore[arg-type]  # anything may be asked for
    except ValueError:
        raise Invalid(field, f"must be one of {', '.join(Role)}") from None


def _role_or_scopes(value: object, field: str) -> Role | Scopes:
    """A role of ours by its name, or a custom one as the list of its scopes."""
    if not isinstance(value, list):
        return _role(value, field)
    named = _words(value, field)
    if not named or named - {scope.value for scope in ADMIN_SCOPES}:
        scopes = ", ".join(sorted(scope.value for scope in ADMIN_SCOPES))
        raise Invalid(field, f"must be a role, or a list of some of {scopes}")
    return frozenset(Scope(name) for name in named)


def _default_role(value: object, field: str) -> Role:
    role = _role(value, field)
    if role is Role.OPERATOR:
        raise Invalid(field, "operator is never a default")
    return role


def _mapping(read: Callable[[object, str], T]) -> Callable[[object, str], Mapping[str, T]]:
    def reader(value: object, field: str) -> Mapping[str, T]:
        members = _object(value, field).items()
        return {_text(name, field): read(each, f"{field}.{name}") for name, each in members}

    return reader


_READERS: dict[str, Callable[[object, str], Any]] = {
    **dict.fromkeys(("tenant", "subject", "role", "audience"), _path),
    "scopes": _paths,
    "tenants": _mapping(parse_tenant_id),
    "roles": _mapping(_role_or_scopes),
    "default_role": _default_role,
    "audiences": _words,
    "required": _mapping(lambda value, field: _words(_either(value), field)),
    "types": _types,
    "algorithms": _algorithms,
}


def _either(value: object) -> object:
    """One value may stand for a list of it."""
    return [value] if isinstance(value, str) else value
