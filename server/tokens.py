"""User tokens: an issuer's own keys, one algorithm per key, strict JSON, typed claims."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jwt import PyJWK

from server.claims import Claims, parse_claims
from server.jwks import KeySet, vet_jwks
from server.jws import UnverifiedToken, read_token
from server.refusal import BadCredential
from tenancy.credentials import Issuer
from tenancy.errors import Invalid

__all__ = ["Claims", "TokenVerifier", "peek_issuer", "vet_jwks"]

# Nothing here brings or points to a key (jku, jwk, x5u, x5c) or changes how the token is read
# (crit, b64, zip, enc). `cat` is Clerk's token category; the thumbprints are Microsoft's.
HEADER_MEMBERS = {"alg", "kid", "typ", "cty", "cat", "x5t", "x5t#S256"}
TOKEN_TYPES = {"jwt", "at+jwt"}
MAX_ISSUER_CHARACTERS = 512


def peek_issuer(token: str) -> str | None:
    """The issuer that a token claims, unproven; None for text that is no readable token."""
    try:
        issuer = read_token(token).claims.get("iss")
    except BadCredential:
        return None
    if not isinstance(issuer, str) or len(issuer) > MAX_ISSUER_CHARACTERS:
        return None
    return issuer if issuer.isprintable() else None  # a NUL or half a surrogate breaks Postgres


class TokenVerifier:
    """Verifies tokens; each issuer's keys are parsed once, until its record is replaced."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Issuer, KeySet]] = {}

    def verify(self, token: str, issuer: Issuer, *, now: datetime) -> Claims:
        """Return the claims of a token of `issuer`; raises `BadCredential`, whatever is wrong."""
        unverified = read_token(token)
        _require_plain_header(unverified.header)
        _require_signature(unverified, *_key_named_by(unverified.header, self._keys_of(issuer)))
        return parse_claims(unverified.claims, issuer, now)

    def _keys_of(self, issuer: Issuer) -> KeySet:
        record, keys = self._known.get(issuer.url, (None, {}))
        if record is not issuer:
            keys = _vetted(issuer)
            self._known[issuer.url] = (issuer, keys)
        return keys


def _vetted(issuer: Issuer) -> KeySet:
    try:
        return vet_jwks(issuer.jwks, symmetric_allowed=issuer.development)
    except Invalid as invalid:
        raise BadCredential(f"the issuer's {invalid.field} {invalid.message}") from None


def _require_plain_header(header: Mapping[str, Any]) -> None:
    if header.keys() - HEADER_MEMBERS:
        raise BadCredential("the token's header has a member that is not allowed")
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.lower() not in TOKEN_TYPES:
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
