"""Who runs the graph: read from the runtime's user, and from nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.runtime import Runtime

from tenancy.errors import NotAuthenticated, TenantryError
from tenancy.ids import parse_subject_id, parse_tenant_id
from tenancy.principal import Principal, Role, known_scopes

USER_KEY = "langgraph_auth_user"  # where LangGraph looks for the user in `configurable`


@dataclass(frozen=True, slots=True)
class VerifiedUser(Mapping[str, Any]):
    """A principal in the shape of LangGraph's authenticated user. It is never stored."""

    principal: Principal

    @property
    def is_authenticated(self) -> bool:
        """Always: an unverified caller has no user."""
        return True

    @property
    def identity(self) -> str:
        """Unique across tenants: two tenants may both have a subject `alice`."""
        return f"{self.principal.tenant_id}/{self.principal.subject_id}"

    @property
    def display_name(self) -> str:
        """The subject."""
        return self.principal.subject_id

    @property
    def permissions(self) -> list[str]:
        """The scopes."""
        return sorted(self.principal.scopes)

    def claims(self) -> dict[str, Any]:
        """The principal as plain data, for a server that passes users on as mappings."""
        return {
            "identity": self.identity,
            "is_authenticated": True,
            "display_name": self.display_name,
            "permissions": self.permissions,
            "tenant_id": self.principal.tenant_id,
            "subject_id": self.principal.subject_id,
            "role": self.principal.role.value,
            "credential": self.principal.credential,
            "issued_at": self.principal.issued_at,
            "token_id": self.principal.token_id,
        }

    def __getitem__(self, key: str) -> Any:
        return self.claims()[key]

    def __iter__(self) -> Any:
        return iter(self.claims())

    def __len__(self) -> int:
        return len(self.claims())


def principal_of(runtime: Runtime[Any]) -> Principal:
    """The verified principal of the run; raises `NotAuthenticated` when there is none."""
    return principal_in(runtime.server_info.user if runtime.server_info else None)


def principal_in(user: Any) -> Principal:
    """The principal that a verified user is; raises `NotAuthenticated` for anything else."""
    if isinstance(user, VerifiedUser):
        return user.principal
    if user is None:
        raise NotAuthenticated
    return _from_claims(user)


def _from_claims(user: Any) -> Principal:
    try:
        return Principal(
            tenant_id=parse_tenant_id(user["tenant_id"]),
            subject_id=parse_subject_id(user["subject_id"]),
            role=Role(user["role"]),
            scopes=known_scopes(user["permissions"]),
            credential=str(user["credential"]),
            issued_at=user["issued_at"],
            token_id=user["token_id"],
        )
    except (KeyError, TypeError, ValueError, AttributeError, TenantryError):
        raise NotAuthenticated from None
