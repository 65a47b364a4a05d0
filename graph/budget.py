"""How a model call may be made, best first, and what each way may cost: known before it is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from graph.ports import Models
from graph.prompts import system_prompt, turns_of, window
from graph.state import AgentState, NumberedPassage
from tenancy.memory import Memory
from tenancy.plan import MIN_OUTPUT_TOKENS, UNLIMITED, Step
from tenancy.quota import Claim, token_bound
from tenancy.summary import Summary
from tenancy.tenant import Tenant

MESSAGE_OVERHEAD = 8  # role and separators of one message, generously
USUAL_EXTRA = 8192  # five passages and a handful of tools: saves raising the hold afterwards
MANY_TOOL_CALLS = 10**6
DEFAULT_OUTPUT_TOKENS = 8192  # where a plan sets no limit a hold still needs one

Schemas = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to make a model call: what is sent to whom, and what it may cost at most."""

    model: str
    messages: Sequence[BaseMessage]
    passages: Sequence[NumberedPassage]
    tools: Schemas
    claim: Claim
    memories: Sequence[Memory] = ()
    steps: tuple[Step, ...] = ()

    @property
    def max_tokens(self) -> int:
        """The longest answer that is paid for."""
        return self.claim.tokens - self.claim.input_tokens


def model_name(tenant: Tenant, models: Models) -> str:
    """The model of who speaks last and names one that the plan allows, else the deployment's."""
    named = tenant.effective.model(lambda name: tenant.plan.allows_model(name, models.default))
    return named or models.default


def schema_text(shown: Schemas) -> str:
    """Tool schemas as they travel: what they add to a prompt's size."""
    return orjson.dumps(shown).decode() if shown else ""


def prompt_bound(
    tenant: Tenant,
    messages: Sequence[BaseMessage],
    passages: Sequence[NumberedPassage],
    tool_schemas: str = "",
    memories: Sequence[Memory] = (),
) -> int:
    """An upper bound on the tokens of a prompt."""
    prompt = [system_prompt(tenant, passages, memories), *messages]
    return token_bound(tool_schemas) + sum(map(_bound, prompt))


def _bound(message: BaseMessage) -> int:
    calls = str(message.tool_calls) if isinstance(message, AIMessage) else ""
    return MESSAGE_OVERHEAD + token_bound(message.text) + token_bound(calls)


def first_claims(
    state: AgentState, tenant: Tenant, models: Models, summary: Summary | None = None
) -> tuple[list[Claim], Claim]:
    """What admission must hold for the first model call, best first; what it should with room.

    It must hold the prompt without passages and tools, and its answer. `respond` raises the hold
    when both are known and it does not suffice, or goes down the ladder.
    """
    claims = [
        _claim(tenant, way.model, prompt_bound(tenant, way.messages, []))
        for way in _ways(tenant, models, window(state["messages"], summary), 0)
    ]
    best = claims[0]
    return claims, Claim(best.tokens + USUAL_EXTRA, 0, best.input_tokens + USUAL_EXTRA, best.model)


def offers(
    state: AgentState,
    tenant: Tenant,
    models: Models,
    tools: Schemas,
    *,
    spent: int,
    summary: Summary | None = None,
    memories: Sequence[Memory] = (),
) -> list[Offer]:
    """The ways to make the next call, best first, each a rung further down the plan's ladder.

    `spent` is what the run took so far: one with a budget of its own answers more shortly.
    """
    found = []
    passages = state["passages"]
    for way in _ways(tenant, models, window(state["messages"], summary), len(passages)):
        shown, offered = passages[: way.passages], tools if way.with_tools else []
        known = memories if way.with_memories else ()
        prompt = prompt_bound(tenant, way.messages, shown, schema_text(offered), known)
        claim = _claim(tenant, way.model, prompt, spent)
        found.append(Offer(way.model, way.messages, shown, offered, claim, known, way.steps))
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    model: str
    messages: Sequence[BaseMessage]
    passages: int
    steps: tuple[Step, ...] = ()
    with_tools: bool = True
    with_memories: bool = True


def _ways(
    tenant: Tenant, models: Models, messages: Sequence[BaseMessage], passages: int
) -> Iterator[_Way]:
    """The rungs of the ladder; without any, the one way there is."""
    model, ladder = model_name(tenant, models), tenant.plan.degrade
    steps: tuple[Step, ...] = ()
    yield _Way(model, messages, passages)
    if Step.MODEL in ladder and tenant.plan.cheaper_model not in ("", model):
        model, steps = tenant.plan.cheaper_model, (Step.MODEL,)
        yield _Way(model, messages, passages, steps)
    if Step.CONTEXT not in ladder:
        return
    steps = (*steps, Step.CONTEXT)
    for fewer in range(passages - 1, -1, -1):
        yield _Way(model, messages, fewer, steps)
    current = turns_of(messages)[-1]
    if len(current) < len(messages):
        yield _Way(model, current, 0, steps)
    yield _Way(model, current, 0, steps, with_tools=False, with_memories=False)


def _claim(tenant: Tenant, model: str, prompt: int, spent: int = 0) -> Claim:
    """The prompt, and the longest answer that the plan and what is left of the run allow."""
    output, most = output_limit(tenant), tenant.plan.tokens_per_run
    if most != UNLIMITED:
        output = max(MIN_OUTPUT_TOKENS, min(output, most - spent - prompt))
    return Claim(prompt + output, 0, prompt, model)


def output_limit(tenant: Tenant) -> int:
    """The longest answer of one model call, in tokens."""
    limit = tenant.plan.max_output_tokens
    return DEFAULT_OUTPUT_TOKENS if limit == UNLIMITED else limit


def tool_calls_left(tenant: Tenant, messages: Sequence[BaseMessage]) -> int:
    """How many more tools this turn may run."""
    most = tenant.plan.tool_calls_per_run
    made = sum(isinstance(message, ToolMessage) for message in turns_of(messages)[-1])
    return MANY_TOOL_CALLS if most == UNLIMITED else max(0, most - made)
