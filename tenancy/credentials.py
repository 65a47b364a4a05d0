"""What may vouch for a caller: token issuers and API keys, as the control database knows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tenancy.ids import KeyId, SubjectId, TenantId
from tenancy.principal import Role
from tenancy.token_rules import OURS, TokenRules


@dataclass(frozen=True, slots=True)
class Issuer:
    """A token issuer, with its key set (RFC 7517) in `jwks` or at `jwks_url`.

    `tenants` are those it may speak for; None is every tenant. Only a platform issuer may name
    the role `operator`; only the development issuer may hold a symmetric key.
    """

    url: str
    audience: str
    jwks: Mapping[str, Any] = field(repr=False)  # the development secret, for one
    tenants: frozenset[TenantId] | None
    platform: bool = False
    development: bool = False
    jwks_url: str | None = None
    rules: TokenRules = OURS

    def may_speak_for(self, tenant_id: TenantId) -> bool:
        """Whether a token of this issuer may name `tenant_id`."""
        return self.tenants is None or tenant_id in self.tenants


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. `scopes` are the words granted on it.

    After a rotation `replaced_by` is the key that took its place. `last_used_at` may be a minute
    behind.
    """

    key_id: KeyId
    tenant_id: TenantId
    subject_id: SubjectId
    role: Role
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    replaced_by: KeyId | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rotation:
    """A key took the place of another, which ends at `old_expires_at`."""

    key_id: KeyId
    created_at: datetime
    expires_at: datetime | None
    old_expires_at: datetime
