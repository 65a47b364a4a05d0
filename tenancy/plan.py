"""What a tenant bought: entitlements and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum

from tenancy.errors import Invalid
from tenancy.ids import PlanId

UNLIMITED = -1
ALL = "all"
BUILT_INS = "built-ins"
DEFAULT = "default"
MAX_LIMIT = 10**15  # far below 2**53: Redis scripts count in doubles
MIN_OUTPUT_TOKENS = 16
MAX_WEIGHT = 1000
MAX_STEPS = 50  # more model calls in one run are a loop, not an answer
COMMON_LINE = -1  # as a weight: no line of one's own, one shared with all who have none

Value = int | str | tuple[str, ...]  # of a field


class Step(StrEnum):
    """A rung of the degrade ladder, in the order in which they are tried."""

    MODEL = "model"  # a cheaper model
    CONTEXT = "context"  # fewer passages, then a shorter history
    QUEUE = "queue"  # wait for a limit to give room instead of being refused


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of one plan. Integers are counts, -1 is unlimited; periods are UTC calendar periods.

    Money is in minor units of the deployment's currency. `user_…` bounds each user inside the
    tenant, `…_per_run` each run. `weight` is the tenant's share of the model where it is scarce.
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
    money_per_day: int = UNLIMITED
    money_per_month: int = UNLIMITED
    user_requests_per_minute: int = UNLIMITED
    user_burst: int = 5
    user_concurrent_runs: int = UNLIMITED
    user_tokens_per_minute: int = UNLIMITED
    user_tokens_per_day: int = UNLIMITED
    user_tokens_per_month: int = UNLIMITED
    user_money_per_day: int = UNLIMITED
    user_money_per_month: int = UNLIMITED
    tokens_per_run: int = UNLIMITED
    tool_calls_per_run: int = 25
    steps_per_run: int = 6  # model calls: five rounds of tools and an answer
    weight: int = 1
    model_calls_in_flight: int = UNLIMITED
    queue_length: int = 100  # runs that wait for the model at once
    queue_seconds: int = 30  # how long one waits before it is refused
    hard_limits: int = 0  # 1: refused, rather than limited locally, while the counters are away
    titles: int = 0  # 1: a model names threads, which costs tokens
    summarise_after: int = UNLIMITED  # messages: what is older goes into prompts in short
    document_bytes: int = UNLIMITED  # of all documents stored, as they were sent
    pages_per_document: int = UNLIMITED
    degrade: tuple[str, ...] = (Step.CONTEXT,)
    cheaper_model: str = ""
    fallback_models: tuple[str, ...] = ()
    memories: int = 0  # remembered of each person, and of the tenant itself; 0: none at all

    def allows_model(self, name: str, default: str) -> bool:
        """Whether the tenant may choose the model `name` where `default` is the deployment's."""
        return ALL in self.models or name in self.models or (name == default)

    def allows_tool(self, name: str, *, built_in: bool) -> bool:
        """Whether the plan entitles to the tool `name`."""
        return ALL in self.tools or name in self.tools or (built_in and BUILT_INS in self.tools)


FIRST_LIMITS = (  # those that every plan says
    "requests_per_minute",
    "burst",
    "concurrent_runs",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "max_output_tokens",
    "documents",
)
LIMITS = tuple(f.name for f in fields(Plan) if f.type == "int" or f.type is int)
LISTS = ("models", "tools", "degrade", "fallback_models")
TEXTS = ("cheaper_model",)
FIELDS = (*LIMITS, *LISTS, *TEXTS)
_KNOWN = frozenset(FIELDS)
RANGES: Mapping[str, tuple[int, int]] = {  # where -1 is not "unlimited", or a count has a roof
    "burst": (1, MAX_LIMIT),
    "user_burst": (1, MAX_LIMIT),
    "max_output_tokens": (MIN_OUTPUT_TOKENS, MAX_LIMIT),
    "steps_per_run": (1, MAX_STEPS),
    "weight": (1, MAX_WEIGHT),
    "queue_length": (0, 100_000),
    "queue_seconds": (0, 3600),
    "hard_limits": (0, 1),
    "titles": (0, 1),
}
MAX_NAME_CHARACTERS = 128  # of a model or tool

FREE = Plan(PlanId("free"), document_bytes=100_000_000, pages_per_document=500)
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
    document_bytes=10_000_000_000,
    models=(ALL,),
    tools=(ALL,),
    weight=4,
    memories=1000,
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
    return replace(plan, **{name: parse_field(name, value) for name, value in settings.items()})  # type: ignore[arg-type]  # it returns the field's own type


def require_field(name: str) -> None:
    """Raise `Invalid` unless a plan has a field `name`."""
    if name not in _KNOWN:
        raise Invalid(name, f"is no field of a plan; one of {', '.join(FIELDS)}")


def parse_field(name: str, value: str) -> Value:
    """The value of a plan's field; raises `Invalid` naming the field."""
    require_field(name)
    if name in TEXTS:
        return _name(name, value.strip())
    if name in LISTS:
        return _names(name, value)
    try:
        number = int(value)
    except ValueError:
        raise Invalid(name, "must be a whole number, or -1 for unlimited") from None
    if number == COMMON_LINE and name == "weight":
        return number
    if number == UNLIMITED and name not in RANGES:
        return number
    least, most = RANGES.get(name, (0, MAX_LIMIT))
    if not least <= number <= most:
        raise Invalid(name, f"must be {least} to {most}")
    return number


def _names(name: str, value: str) -> tuple[str, ...]:
    names = tuple(_name(name, part.strip()) for part in value.split(",") if part.strip())
    if name == "degrade" and not set(names) <= set(Step):
        raise Invalid(name, f"must list steps of {', '.join(Step)}")
    return names


def _name(field: str, name: str) -> str:
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise Invalid(field, f"must name things in at most {MAX_NAME_CHARACTERS} characters")
    return name
