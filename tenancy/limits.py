"""Limits on top of a plan: a tenant's own, and on top of these the ones of its users."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tenancy.errors import Invalid
from tenancy.ids import SubjectId
from tenancy.plan import (
    FIELDS,
    LIMITS,
    UNLIMITED,
    Plan,
    Value,
    change_plan,
    parse_field,
    require_field,
)
from tenancy.tenant import Tenant

USER = "user_"
USER_LIMITS = tuple(name for name in LIMITS if name.startswith(USER))
MAX_LIMITED_USERS = 1000  # of a tenant: they are read with its record

Said = Mapping[str, str]  # fields as `change_plan` takes them; an empty text removes one


class Source(StrEnum):
    """Where a limit comes from."""

    PLAN = "plan"
    TENANT = "tenant"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Limit:
    """One field as it holds."""

    field: str
    value: Value
    source: Source


@dataclass(frozen=True, slots=True)
class Limits:
    """All that bounds a tenant: `plan` has its `own` applied, `users` come on top of both."""

    plan: Plan
    own: Said
    users: Mapping[SubjectId, Said]

    @classmethod
    def of(cls, tenant: Tenant) -> "Limits":
        """Those of a tenant as every process knows it."""
        return cls(tenant.plan, tenant.own_limits, tenant.user_limits)

    def effective(self, subject_id: SubjectId | None = None) -> list[Limit]:
        """Every field as it holds for the tenant, or for one of its users."""
        of_user = {} if subject_id is None else self.users.get(subject_id, {})
        plan = change_plan(self.plan, of_user)
        return [Limit(name, getattr(plan, name), self._source(name, of_user)) for name in FIELDS]

    def _source(self, name: str, of_user: Said) -> Source:
        if name in of_user:
            return Source.USER
        return Source.TENANT if name in self.own else Source.PLAN


def parse_limits(said: Said) -> dict[str, str]:
    """A tenant's own limits as stored; raises `Invalid` naming the field."""
    return {name: _stored(name, text) for name, text in said.items()}


def parse_user_limits(said: Said) -> dict[str, str]:
    """A user's limits as stored, named with `user_` or without it; raises `Invalid`."""
    return {_of_user(name): _stored(_of_user(name), text) for name, text in said.items()}


def text_of(value: object) -> str:
    """A value as `parse_field` reads it back; never the empty text, which removes."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or ","
    return str(value) or " "


def limits_of_user(plan: Plan, given: Said, narrowed: Said) -> dict[str, str]:
    """What holds for a user: what operators have given, and what is narrower than that."""
    narrower = {n: t for n, t in narrowed.items() if _is_narrower(int(t), _most(plan, given, n))}
    return {**given, **narrower}


def require_narrower(plan: Plan, given: Said, narrowed: Said) -> None:
    """Raise `Invalid` where a tenant's admin would give a user more than there is."""
    for name, text in narrowed.items():
        most = _most(plan, given, name)
        if text and _is_narrower(most, int(text)):
            raise Invalid(name, f"must be at most {most}, as the tenant has it")


def _most(plan: Plan, given: Said, name: str) -> int:
    most: int = int(given[name]) if name in given else getattr(plan, name)
    return most


def _is_narrower(value: int, other: int) -> bool:
    return value != UNLIMITED and (other == UNLIMITED or value < other)


def _stored(name: str, text: str) -> str:
    if not text:
        require_field(name)
        return text
    return text_of(parse_field(name, text))


def _of_user(name: str) -> str:
    full = name if name.startswith(USER) else USER + name
    if full not in USER_LIMITS:
        raise Invalid(name, f"is no limit of a user; one of {', '.join(USER_LIMITS)}")
    return full
