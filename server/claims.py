"""The claims of a token whose signature holds, parsed into types that cannot be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.refusal import BadCredential
from tenancy.credentials import Issuer
from tenancy.errors import Invalid
from tenancy.ids import SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import Role, Scope
from tenancy.token_rules import TokenRules, claim_at, widest

LEEWAY = timedelta(seconds=30)
END_OF_DATES = 253402300799  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `granted` are the scopes of its custom roles, beside its role's.

    `words` narrow both; None where the token is silent. `issued_at` is in seconds since 1970.
    """

    tenant_id: TenantId
    subject_id: SubjectId
    role: Role
    granted: frozenset[Scope]
    words: frozenset[str] | None
    issued_at: float | None
    token_id: str | None


def parse_claims(claims: Mapping[str, Any], issuer: Issuer, now: datetime) -> Claims:
    """Return what `issuer` may say and says now; raises `BadCredential` for anything else."""
    _require(claims.get("iss") == issuer.url, "the token is another issuer's")
    _require_audience(claims, issuer)
    _require_current(claims, now.timestamp())
    _require_values(claims, issuer.rules.required)
    parsed = _identity(claims, issuer.rules)
    _require(issuer.may_speak_for(parsed.tenant_id), "the issuer may not speak for the tenant")
    operator = parsed.role is Role.OPERATOR
    _require(issuer.platform or not operator, "the issuer may not name an operator")
    return parsed


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadCredential(otherwise)


def _require_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    named = _strings(claim_at(claims, issuer.rules.audience), "the audience")
    accepted = issuer.rules.audiences | {issuer.audience}
    _require(not accepted.isdisjoint(named), "the token is for another audience")


def _require_values(claims: Mapping[str, Any], required: Mapping[str, frozenset[str]]) -> None:
    for name, values in required.items():
        value = claims.get(name)
        _require(isinstance(value, str) and value in values, f"{name} is not as it must be")


def _strings(value: object, name: str) -> list[str]:
    """A claim that is one string or a list of them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    raise BadCredential(f"{name} is neither a string nor a list of strings")


def _require_current(claims: Mapping[str, Any], now: float) -> None:
    leeway = LEEWAY.total_seconds()
    _require(now - leeway < _date(claims, "exp"), "the token has expired")
    if "nbf" in claims:
        _require(_date(claims, "nbf") <= now + leeway, "the token is not valid yet")
    if "iat" in claims:
        _require(_date(claims, "iat") <= now + leeway, "the token is from the future")


def _date(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadCredential(f"{name} is not a number")
    _require(0 <= value <= END_OF_DATES, f"{name} is not a date")  # NaN compares False
    return value


def _identity(claims: Mapping[str, Any], rules: TokenRules) -> Claims:
    try:
        return Claims(
            _tenant(claim_at(claims, rules.tenant), rules),
            parse_subject_id(claim_at(claims, rules.subject), rules.subject[-1]),
            *_role(claim_at(claims, rules.role), rules),
            _words(claims, rules),
            _date(claims, "iat") if "iat" in claims else None,
            _token_id(claims),
        )
    except Invalid as invalid:
        raise BadCredential(f"{invalid.field} {invalid.message}") from None


def _token_id(claims: Mapping[str, Any]) -> str | None:
    token_id = claims.get("jti", "")
    if not isinstance(token_id, str):
        raise BadCredential("jti is no string")
    return token_id or None


def _tenant(value: object, rules: TokenRules) -> TenantId:
    if not rules.tenants:
        return parse_tenant_id(value)
    if not isinstance(value, str) or value not in rules.tenants:
        raise BadCredential("the tenant's value stands for no tenant")
    return rules.tenants[value]


def _role(value: object, rules: TokenRules) -> tuple[Role, frozenset[Scope]]:
    """The role, by its own name or by the widest that its values stand for, and custom scopes."""
    granted: frozenset[Scope] = frozenset()
    if value is None and rules.default_role is not None:
        return rules.default_role, granted
    if rules.roles:
        known = [rules.roles[name] for name in _strings(value, "the role") if name in rules.roles]
        granted = granted.union(*(each for each in known if isinstance(each, frozenset)))
        otherwise = Role.SERVICE if granted else rules.default_role  # a service: as it is granted
        role = widest(each for each in known if isinstance(each, Role)) or otherwise
    else:
        role = Role(value) if isinstance(value, str) and value in set(Role) else None
    if role is None:
        raise BadCredential("the role is unknown")
    return role, granted


def _words(claims: Mapping[str, Any], rules: TokenRules) -> frozenset[str] | None:
    """The scope words; where several claims name some, each narrows the others."""
    named = [_split(claim_at(claims, path)) for path in rules.scopes if _holds(claims, path)]
    return frozenset.intersection(*named) if named else None


def _holds(claims: object, path: tuple[str, ...]) -> bool:
    """Whether the claim is there at all: null is a value, and a wrong one."""
    parent = claim_at(claims, path[:-1])
    return isinstance(parent, Mapping) and path[-1] in parent


def _split(value: object) -> frozenset[str]:
    words = _strings(value, "a scope claim")
    return frozenset(words[0].split()) if isinstance(value, str) else frozenset(words)
