"""The claims of a token whose signature holds, parsed into types that cannot be wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from server.refusal import BadCredential
from tenancy.credentials import Issuer
from tenancy.errors import Invalid
from tenancy.ids import SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import Role

LEEWAY = timedelta(seconds=30)
END_OF_DATES = 253402300799  # the last second of the year 9999
SCOPE_CLAIMS = ("scope", "scopes", "permissions")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `words` narrow the role; None where the token is silent."""

    tenant_id: TenantId
    subject_id: SubjectId
    role: Role
    words: frozenset[str] | None


def parse_claims(claims: Mapping[str, Any], issuer: Issuer, now: datetime) -> Claims:
    """Return what `issuer` may say and says now; raises `BadCredential` for anything else."""
    _require(claims.get("iss") == issuer.url, "the token is another issuer's")
    _require(issuer.audience in _audiences(claims.get("aud")), "the token is for another audience")
    _require_current(claims, now.timestamp())
    parsed = _identity(claims)
    _require(issuer.may_speak_for(parsed.tenant_id), "the issuer may not speak for the tenant")
    operator = parsed.role is Role.OPERATOR
    _require(issuer.platform or not operator, "the issuer may not name an operator")
    return parsed


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BadCredential(otherwise)


def _audiences(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(audience, str) for audience in value):
        return value
    raise BadCredential("aud is neither a string nor a list of strings")


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


def _identity(claims: Mapping[str, Any]) -> Claims:
    try:
        return Claims(
            parse_tenant_id(claims.get("tenant_id")),
            parse_subject_id(claims.get("sub"), "sub"),
            Role(claims.get("role", "")),
            _words(claims),
        )
    except Invalid as invalid:
        raise BadCredential(f"{invalid.field} {invalid.message}") from None
    except ValueError:
        raise BadCredential("the role is unknown") from None


def _words(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """The scope words; where several claims name some, each narrows the others."""
    named = [_split(claims[name]) for name in SCOPE_CLAIMS if name in claims]
    return frozenset.intersection(*named) if named else None


def _split(value: object) -> frozenset[str]:
    if isinstance(value, str):
        return frozenset(value.split())
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return frozenset(value)
    raise BadCredential("a scope claim is neither a string nor a list of strings")
