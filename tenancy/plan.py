"""What a tenant bought: entitlements and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from tenancy.errors import Invalid
from tenancy.ids import PlanId

UNLIMITED = -1
ALL = "all"
BUILT_INS = "built-ins"
DEFAULT = "default"
MAX_LIMIT = 10**15  # far below 2**53: Redis scripts count in doubles
MIN_OUTPUT_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of one plan. Integers are counts, -1 is unlimited; periods are UTC calendar periods.

    `models` and `tools` list names; `all`, `default` (the deployment's model) and `built-ins`
    stand for groups.
    """

    plan_id: PlanId
    requests_per_minute: int = 20
    burst: int = 5
    concurrent_runs: int = 2
    tokens_per_minute: int = 20_000
    tokens_per_day: int = 100_000
    tokens_per_month: int = 1_000_000
    max_output_tokens: int = 1024
    documents: int = 50
    models: tuple[str, ...] = (DEFAULT,)
    tools: tuple[str, ...] = (BUILT_INS,)

    def allows_model(self, name: str, default: str) -> bool:
        """Whether the tenant may choose the model `name` where `default` is the deployment's."""
        return ALL in self.models or name in self.models or (name == default)

    def allows_tool(self, name: str, *, built_in: bool) -> bool:
        """Whether the plan entitles to the tool `name`."""
        return ALL in self.tools or name in self.tools or (built_in and BUILT_INS in self.tools)


LIMITS = tuple(f.name for f in fields(Plan) if f.type == "int" or f.type is int)
LISTS = ("models", "tools")
AT_LEAST = {"burst": 1, "max_output_tokens": MIN_OUTPUT_TOKENS}

FREE = Plan(PlanId("free"))
PRO = Plan(
    PlanId("pro"),
    requests_per_minute=300,
    burst=60,
    concurrent_runs=16,
    tokens_per_minute=400_000,
    tokens_per_day=5_000_000,
    tokens_per_month=100_000_000,
    max_output_tokens=4096,
    documents=5000,
    models=(ALL,),
    tools=(ALL,),
)
SHIPPED = (FREE, PRO)


def new_plan(plan_id: PlanId, settings: Mapping[str, str]) -> Plan:
    """A plan made from scratch: what is not said is as in `free`, a burst follows the rate."""
    plan = change_plan(replace(FREE, plan_id=plan_id), settings)
    if "burst" in settings or "requests_per_minute" not in settings:
        return plan
    return replace(plan, burst=max(1, plan.requests_per_minute))


def change_plan(plan: Plan, settings: Mapping[str, str]) -> Plan:
    """The plan with `settings` applied; raises `Invalid` naming the field."""
    return replace(plan, **{name: _parse(name, value) for name, value in settings.items()})  # type: ignore[arg-type]  # _parse returns the field's own type


def _parse(name: str, value: str) -> int | tuple[str, ...]:
    if name in LISTS:
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        return names
    if name not in LIMITS:
        raise Invalid(name, f"is no field of a plan; one of {', '.join((*LIMITS, *LISTS))}")
    try:
        number = int(value)
    except ValueError:
        raise Invalid(name, "must be a whole number, or -1 for unlimited") from None
    if number == UNLIMITED and name not in AT_LEAST:
        return number
    if not AT_LEAST.get(name, 0) <= number <= MAX_LIMIT:
        raise Invalid(name, f"must be {AT_LEAST.get(name, 0)} to {MAX_LIMIT}")
    return number
