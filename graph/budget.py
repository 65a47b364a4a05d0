"""How many tokens a model call may cost, known before it is made."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage

from graph.prompts import system_prompt, window
from graph.state import AgentState, NumberedPassage
from tenancy.plan import UNLIMITED
from tenancy.quota import token_bound
from tenancy.tenant import Tenant

MESSAGE_OVERHEAD = 8  # role and separators of one message, generously
USUAL_EXTRA = 8192  # five passages and a handful of tools: saves raising the hold afterwards
DEFAULT_OUTPUT_TOKENS = 8192  # where a plan sets no limit a hold still needs one


def prompt_bound(
    tenant: Tenant,
    messages: Sequence[BaseMessage],
    passages: Sequence[NumberedPassage],
    tool_schemas: str = "",
) -> int:
    """An upper bound on the tokens of a prompt."""
    prompt = [system_prompt(tenant, passages), *messages]
    return token_bound(tool_schemas) + sum(map(_bound, prompt))


def _bound(message: BaseMessage) -> int:
    calls = str(message.tool_calls) if isinstance(message, AIMessage) else ""
    return MESSAGE_OVERHEAD + token_bound(message.text) + token_bound(calls)


def first_hold(state: AgentState, tenant: Tenant) -> tuple[int, int]:
    """What admission must hold for the first model call, and what it should where there is room.

    It must hold the prompt without passages and tools, and its answer. `respond` raises the hold
    when both are known and it does not suffice, or takes fewer passages.
    """
    needed = prompt_bound(tenant, window(state["messages"]), []) + output_limit(tenant)
    return needed, needed + USUAL_EXTRA


def output_limit(tenant: Tenant) -> int:
    """The longest answer of one model call, in tokens."""
    limit = tenant.plan.max_output_tokens
    return DEFAULT_OUTPUT_TOKENS if limit == UNLIMITED else limit
