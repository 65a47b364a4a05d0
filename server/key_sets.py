"""An issuer's keys, wherever they are kept."""

from collections.abc import Mapping
from typing import Any

import orjson

from server.jwks import KeySet, vet_jwks
from server.jwks_store import JwksStore, Unfetched, fetch_https, fetched_keys, parse_jwks_url
from server.refusal import BadCredential
from tenancy.credentials import Issuer
from tenancy.errors import Invalid


class KeySets:
    """Registered sets are parsed once, until their record is replaced; published ones fetched."""

    def __init__(self, published: JwksStore | None = None) -> None:
        self._published = published or JwksStore()
        self._registered: dict[str, tuple[Issuer, KeySet]] = {}

    async def of(self, issuer: Issuer, kid: str | None) -> KeySet:
        """The keys of `issuer`; raises `BadCredential` or `Unavailable` when there are none."""
        if issuer.jwks_url is not None:
            return await self._published.keys(issuer, kid)
        record, keys = self._registered.get(issuer.url, (None, {}))
        if record is not issuer:
            keys = vetted(issuer)
            self._registered[issuer.url] = (issuer, keys)
        return keys

    async def aclose(self) -> None:
        """Stop fetching."""
        await self._published.aclose()


def vetted(issuer: Issuer) -> KeySet:
    """The registered keys of `issuer`; raises `BadCredential` when they are at fault."""
    try:
        return vet_jwks(
            issuer.jwks,
            symmetric_allowed=issuer.development,
            algorithms=issuer.rules.algorithms,
        )
    except Invalid as invalid:
        raise BadCredential(f"the issuer's {invalid.field} {invalid.message}") from None


async def require_keys(issuer: Issuer, *, jwks_url: str = "jwks_url") -> None:
    """Raise `Invalid` unless the keys of an issuer to be registered can be had now, and are good.

    `jwks_url` is what the caller calls that field.
    """
    if issuer.jwks_url is None:
        vet_jwks(issuer.jwks, algorithms=issuer.rules.algorithms)
        _require_storable(issuer.jwks)
        return
    parse_jwks_url(issuer.jwks_url, jwks_url)
    try:
        await fetched_keys(issuer, fetch_https)
    except Unfetched as why:
        raise Invalid(jwks_url, f"gives no usable key set: {why}") from None


def _require_storable(jwks: Mapping[str, Any]) -> None:
    """A member that nobody knows may hold what no database takes."""
    try:
        storable = b"\\u0000" not in orjson.dumps(dict(jwks))
    except TypeError:  # half a surrogate, or a number beyond 64 bits
        storable = False
    if not storable:
        raise Invalid("jwks", "must hold no NUL, lone surrogate or number beyond 64 bits")
