"""A customer organisation: the isolation boundary."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tenancy.errors import Invalid, NotAuthenticated, TenantSuspended
from tenancy.ids import SubjectId, TenantId
from tenancy.personalisation import Effective, Layer, Source, parse_value, resolve
from tenancy.plan import Plan, change_plan
from tenancy.principal import Principal, Role
from tenancy.revocation import NOTHING_REVOKED, Revocations


class TenantStatus(StrEnum):
    """Whether the tenant is served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


# What a tenant may say of its assistants in one line of a terminal.
PREFERENCES = ("persona", "tone", "language", "length", "instructions", "model")


@dataclass(frozen=True, slots=True)
class ToolSetting:
    """What a tenant decided about one tool; `enabled` is None where it never decided."""

    enabled: bool | None = None
    configuration: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant with its plan and preferences, as known to every process.

    `plan` has the tenant's `own_limits` applied already; `user_limits` are those of single users.
    `preferences` is the tenant's profile; `personal` what all say together, once that is known.
    """

    tenant_id: TenantId
    display_name: str
    status: TenantStatus
    plan: Plan
    cell_id: str
    preferences: Mapping[str, Any] = field(default_factory=dict)
    tools: Mapping[str, ToolSetting] = field(default_factory=dict)
    revocations: Revocations = NOTHING_REVOKED
    user_limits: Mapping[SubjectId, Mapping[str, str]] = field(default_factory=dict)
    own_limits: Mapping[str, str] = field(default_factory=dict)
    personal: Effective | None = None

    @property
    def effective(self) -> Effective:
        """How its assistant speaks: what the tenant says, where no more is known."""
        return self.personal or resolve([Layer(Source.TENANT, self.preferences)])

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
    return name, parse_value(Source.TENANT, name, value) or ""
