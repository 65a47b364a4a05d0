"""User tokens: an issuer's own keys, one algorithm per key, strict JSON, typed claims."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jwt import PyJWK

from server.claims import Claims, parse_claims
from server.jwks import KeySet
from server.jws import UnverifiedToken, read_token
from server.refusal import BadCredential
from tenancy.credentials import Issuer
from tenancy.ids import MAX_ISSUER_CHARACTERS

# Nothing here brings or points to a key (jku, jwk, x5u, x5c) or changes how the token is read
# (crit, b64, zip, enc). `cat` is Clerk's token category; the thumbprints are Microsoft's.
HEADER_MEMBERS = {"alg", "kid", "typ", "cty", "cat", "x5t", "x5t#S256"}


def readable(text: str) -> UnverifiedToken | None:
    """The token that `text` is, unproven; None for text that is none or names no issuer."""
    try:
        token = read_token(text)
    except BadCredential:
        return None
    return token if _names_an_issuer(token) else None


def _names_an_issuer(token: UnverifiedToken) -> bool:
    issuer = token.claims.get("iss")
    if not isinstance(issuer, str) or len(issuer) > MAX_ISSUER_CHARACTERS:
        return False
    return issuer.isprintable()  # a NUL or half a surrogate breaks Postgres


def issuer_named_by(token: UnverifiedToken) -> str:
    """The issuer that a readable token claims to be of."""
    return str(token.claims["iss"])


def key_id_of(token: UnverifiedToken) -> str | None:
    """The key that a token names; None where it names none."""
    kid = token.header.get("kid")
    return kid if isinstance(kid, str) else None


def verify(token: UnverifiedToken, issuer: Issuer, keys: KeySet, *, now: datetime) -> Claims:
    """Return the claims of a token of `issuer`; raises `BadCredential`, whatever is wrong."""
    _require_plain_header(token.header, issuer)
    _require_signature(token, *_key_named_by(token.header, keys))
    return parse_claims(token.claims, issuer, now)


def _require_plain_header(header: Mapping[str, Any], issuer: Issuer) -> None:
    if header.keys() - HEADER_MEMBERS:
        raise BadCredential("the token's header has a member that is not allowed")
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower() not in issuer.rules.types:
        raise BadCredential("the token is of another type")


def _key_named_by(header: Mapping[str, Any], keys: KeySet) -> tuple[str, PyJWK]:
    if "kid" not in header and len(keys) == 1:
        return next(iter(keys.values()))
    kid = header.get("kid")
    if not isinstance(kid, str) or kid not in keys:
        raise BadCredential("the token names no key of its issuer")
    return keys[kid]


def _require_signature(token: UnverifiedToken, alg: str, key: PyJWK) -> None:
    if token.header.get("alg") != alg:
        raise BadCredential("the token's algorithm is not its key's")
    # PyJWT's own primitive over the text as it came: `jwt.decode` would parse it a second way.
    if not key.Algorithm.verify(token.signed, key.key, token.signature):
        raise BadCredential("the signature does not hold")
