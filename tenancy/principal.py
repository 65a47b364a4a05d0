"""Who is calling, on behalf of one tenant: the verified result of a credential."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from tenancy.errors import Forbidden
from tenancy.ids import SubjectId, TenantId


class Role(StrEnum):
    """A bundle of scopes inside one tenant; `operator` spans tenants and sees no content."""

    VIEWER = "viewer"
    MEMBER = "member"
    ADMIN = "admin"
    SERVICE = "service"
    OPERATOR = "operator"


class Scope(StrEnum):
    """A named permission: what code checks."""

    CHAT = "chat"
    SEARCH = "search"
    THREADS_READ = "threads:read"
    THREADS_WRITE = "threads:write"
    THREADS_ALL = "threads:all"
    THREADS_DEBUG = "threads:debug"
    DOCUMENTS_READ = "documents:read"
    DOCUMENTS_WRITE = "documents:write"
    TOOLS_USE = "tools:use"
    TOOLS_WRITE = "tools:write"
    KEYS_WRITE = "keys:write"
    USAGE_READ = "usage:read"
    AUDIT_READ = "audit:read"
    SETTINGS_WRITE = "settings:write"
    PLATFORM = "platform:*"


VIEWER_SCOPES = frozenset({Scope.THREADS_READ, Scope.DOCUMENTS_READ, Scope.SEARCH})
MEMBER_SCOPES = VIEWER_SCOPES | {Scope.CHAT, Scope.THREADS_WRITE, Scope.TOOLS_USE}
ADMIN_SCOPES = MEMBER_SCOPES | {
    Scope.DOCUMENTS_WRITE,
    Scope.TOOLS_WRITE,
    Scope.KEYS_WRITE,
    Scope.USAGE_READ,
    Scope.AUDIT_READ,
    Scope.SETTINGS_WRITE,
    Scope.THREADS_ALL,
}
# Every scope a tenant's own credential may ever carry; `threads:debug` is granted separately.
TENANT_SCOPES = ADMIN_SCOPES | {Scope.THREADS_DEBUG}

SCOPES_OF_ROLE: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: VIEWER_SCOPES,
    Role.MEMBER: MEMBER_SCOPES,
    Role.ADMIN: ADMIN_SCOPES,
    Role.SERVICE: frozenset(),  # as granted on the key
    Role.OPERATOR: frozenset({Scope.PLATFORM}),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. `credential` names the issuer or key that vouched, never a secret.

    `issued_at` is when the credential says it was made, in seconds since 1970; `token_id` is a
    token's `jti`. Both are for revoking it.
    """

    tenant_id: TenantId
    subject_id: SubjectId
    role: Role
    scopes: frozenset[Scope]
    credential: str
    issued_at: float | None = None
    token_id: str | None = None

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the principal holds `scope`."""
        if scope not in self.scopes:
            raise Forbidden(f"The scope {scope.value} is required.")

    @property
    def sees_all_threads(self) -> bool:
        """Whether the tenant's threads are visible, not only the subject's own."""
        return Scope.THREADS_ALL in self.scopes


def known_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """The scopes among `names`; a word that is no scope of ours is nothing."""
    known: Collection[str] = {scope.value for scope in Scope}
    return frozenset(Scope(name) for name in names if name in known)
