"""A credential becomes a principal. Nothing after this line reads a token or a key."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from server.api_keys import parse
from server.key_sets import KeySets
from server.refusal import BadCredential, Kind
from server.tokens import issuer_named_by, key_id_of, readable, verify
from tenancy.credentials import ApiKey, Issuer
from tenancy.ids import KeyId, TenantId
from tenancy.principal import SCOPES_OF_ROLE, TENANT_SCOPES, Principal, Role, Scope, known_scopes
from tenancy.tenant import Tenant

RawHeaders = Iterable[tuple[bytes, bytes]]

BEARER = re.compile(rb"bearer +([\x21-\x7e]+)", re.IGNORECASE)
BARE = re.compile(rb"([\x21-\x7e]+)")
CREDENTIAL_HEADERS = {b"authorization": BEARER, b"x-api-key": BARE}


class Directory(Protocol):
    """Who may vouch for whom, as the control database knows it. Raises `Unavailable`."""

    async def issuer(self, url: str) -> Issuer | None:
        """The registered issuer with exactly this URL."""
        ...

    async def api_key(self, digest: bytes) -> ApiKey | None:
        """The key with this digest, expired and revoked ones included."""
        ...

    async def tenant(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant, suspended ones included."""
        ...


def utc_now() -> datetime:
    """The present, aware and in UTC."""
    return datetime.now(UTC)


class Authenticator:
    """Asks each reader in turn: it answers None ("not mine") or raises ("mine and bad")."""

    def __init__(
        self,
        directory: Directory,
        clock: Callable[[], datetime] = utc_now,
        key_sets: KeySets | None = None,
        mark: Callable[[KeyId], None] = lambda _key_id: None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._key_sets = key_sets or KeySets()
        self._mark = mark  # told of each key that lets somebody in

    async def authenticate(self, headers: RawHeaders) -> Principal:
        """Return the caller; raises `NotAuthenticated`, `TenantSuspended` or `Unavailable`."""
        text = credential_in(headers)
        key = await self._key(text)
        principal = await self._from_token(text) if key is None else _principal_of(key)
        if principal is None:
            raise BadCredential("the credential is neither a key nor a token", Kind.MALFORMED)
        await self._require_served(principal, key)
        if key is not None:
            self._mark(key.key_id)
        return principal

    async def _key(self, text: str) -> ApiKey | None:
        digest = parse(text)
        if digest is None:
            return None
        key = await self._directory.api_key(digest)
        if key is None:
            raise BadCredential("the key is unknown", Kind.UNKNOWN_KEY)
        self._require_valid(key)
        return key

    def _require_valid(self, key: ApiKey) -> None:
        if key.revoked_at is not None:
            raise BadCredential("the key is revoked", Kind.REVOKED, key)
        if key.expires_at is not None and key.expires_at <= self._clock():
            raise BadCredential("the key has expired", Kind.EXPIRED_KEY, key)
        if key.role is Role.OPERATOR:
            raise BadCredential(
                "a key belongs to a tenant and cannot name an operator", Kind.UNKNOWN_KEY
            )

    async def _from_token(self, text: str) -> Principal | None:
        token = readable(text)
        if token is None:
            return None
        issuer = await self._directory.issuer(issuer_named_by(token))
        if issuer is None:
            raise BadCredential("the issuer is unknown")
        keys = await self._key_sets.of(issuer, key_id_of(token))
        claims = verify(token, issuer, keys, now=self._clock())
        scopes = scopes_of_token(claims.role, claims.words, claims.granted)
        return Principal(
            claims.tenant_id,
            claims.subject_id,
            claims.role,
            scopes,
            f"issuer:{issuer.url}",
            issued_at=claims.issued_at,
            token_id=claims.token_id,
        )

    async def aclose(self) -> None:
        """Stop what runs beside requests."""
        await self._key_sets.aclose()

    async def _require_served(self, principal: Principal, key: ApiKey | None) -> None:
        tenant = await self._directory.tenant(principal.tenant_id)
        if tenant is not None:
            if tenant.revocations.cover(principal):
                raise BadCredential("the credential is revoked", Kind.REVOKED, key)
            tenant.require_served(principal)
        elif principal.role is not Role.OPERATOR:
            raise BadCredential("the tenant is unknown", Kind.UNKNOWN_TENANT)


def _principal_of(key: ApiKey) -> Principal:
    return Principal(
        key.tenant_id,
        key.subject_id,
        key.role,
        scopes_of_key(key),
        f"key:{key.key_id}",
        issued_at=key.created_at.timestamp(),
    )


def credential_in(headers: RawHeaders) -> str:
    """The one credential that a request carries; raises `BadCredential` for none or two."""
    found = {
        _read(CREDENTIAL_HEADERS[name.lower()], value)
        for name, value in headers
        if name.lower() in CREDENTIAL_HEADERS
    }
    if len(found) != 1:
        if found:
            raise BadCredential("there are two credentials", Kind.MALFORMED)
        raise BadCredential("there is no credential", Kind.MISSING)
    return found.pop()


def _read(form: re.Pattern[bytes], value: bytes) -> str:
    match = form.fullmatch(value.strip(b" \t"))
    if match is None:
        raise BadCredential("a credential header is malformed", Kind.MALFORMED)
    return match[1].decode()


def scopes_of_token(
    role: Role, words: frozenset[str] | None, granted: frozenset[Scope] = frozenset()
) -> frozenset[Scope]:
    """The scopes of the role and those `granted` by custom roles, narrowed by the token's words.

    A service without a custom role has what its words name. An operator is granted nothing in a
    tenant. `threads:debug` is in no role: an admin has it by naming it.
    """
    named = known_scopes(words or ())
    if role is Role.SERVICE and not granted:
        return (named & TENANT_SCOPES) - {Scope.THREADS_DEBUG}
    whole = SCOPES_OF_ROLE[role] | (frozenset() if role is Role.OPERATOR else granted)
    granted_separately = {Scope.THREADS_DEBUG} if role is Role.ADMIN else frozenset[Scope]()
    return (whole if words is None else whole & named) | (named & granted_separately)


def scopes_of_key(key: ApiKey) -> frozenset[Scope]:
    """The scopes granted on a key: a service's words as they are, another role narrowed by them.

    A key of another role without words has all of its role.
    """
    if key.role is Role.SERVICE:
        return known_scopes(key.scopes) & TENANT_SCOPES
    return scopes_of_token(key.role, _words(key.scopes))


def _words(scopes: Sequence[str]) -> frozenset[str] | None:
    return frozenset(scopes) or None
