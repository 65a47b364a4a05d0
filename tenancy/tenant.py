"""A customer organisation: the isolation boundary."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tenancy.errors import Invalid, NotAuthenticated, TenantSuspended
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import Plan, change_plan
from tenancy.principal import Principal, Role
from tenancy.revocation import NOTHING_REVOKED, Revocations


class TenantStatus(StrEnum):
    """Whether the tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


# What a tenant may say about its own assistant, with the longest value allowed in characters.
PREFERENCES: Mapping[str, int] = {
    "persona": 500,
    "language": 64,
    "instructions": 4000,
    "model": 128,
}


@dataclass(frozen=True, slots=True)
class ToolSetting:
    """What a tenant decided about one tool; `enabled` is None where it never decided."""

    enabled: bool | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with its plan and preferences, as known to every process.

    `plan` has the tenant's `own_limits` applied already; `user_limits` are those of single users.
    """

    tenant_id: TenantId
    display_name: str
    status: TenantStatus
    plan: Plan
    cell_id: str
    preferences: Mapping[str, str] = field(default_factory=dict)
    tools: Mapping[str, ToolSetting] = field(default_factory=dict)
    revocations: Revocations = NOTHING_REVOKED
    user_limits: Mapping[SubjectId, Mapping[str, str]] = field(default_factory=dict)
    own_limits: Mapping[str, str] = field(default_factory=dict)

    def for_user(self, subject_id: SubjectId) -> "Tenant":
        """The tenant with the limits of this user in its plan."""
        own = self.user_limits.get(subject_id)
        return replace(self, plan=change_plan(self.plan, own)) if own else self

    def require_served(self, principal: Principal) -> None:
        """Raise `NotAuthenticated` for a revoked credential, `TenantSuspended` for a suspension."""
        if self.revocations.cover(principal):
            raise NotAuthenticated
        if self.status is not TenantStatus.ACTIVE and principal.role is not Role.OPERATOR:
            raise TenantSuspended


def parse_preference(name: str, value: str) -> tuple[str, str]:
    """Return a preference as stored; raises `Invalid` for an unknown name or an overlong value."""
    if name not in PREFERENCES:
        raise Invalid(name, f"is no preference; one of {', '.join(PREFERENCES)}")
    text = value.strip()
    if len(text) > PREFERENCES[name] or "\0" in text:
        raise Invalid(name, f"must be at most {PREFERENCES[name]} characters of text")
    return name, text
