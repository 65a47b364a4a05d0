"""The one door of every prompt: it stamps the tenant and settles what the call cost."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import orjson
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import ValidationError

from graph.answers import sound
from graph.ports import Models, Turn
from graph.prompts import system_prompt
from graph.state import NumberedPassage
from tenancy.errors import ModelFailed
from tenancy.quota import token_bound
from tenancy.tenant import Tenant
from tenancy.usage import Tokens

NO_MESSAGE = "The model endpoint answered with something that is no message."
BYTES_PER_TOKEN = 4  # of English text; used only where a provider reports no usage at all


def model_name(tenant: Tenant, models: Models) -> str:
    """The model of the tenant's choice where its plan allows it, else the deployment's."""
    wanted = tenant.preferences.get("model") or models.default
    return wanted if tenant.plan.allows_model(wanted, models.default) else models.default


def schema_text(shown: Sequence[dict[str, Any]]) -> str:
    """Tool schemas as they travel: what they add to a prompt's size."""
    return orjson.dumps(shown).decode() if shown else ""


async def ask(
    turn: Turn,
    messages: Sequence[BaseMessage],
    passages: Sequence[NumberedPassage],
    *,
    call: int,
    models: Models,
    tools: Sequence[dict[str, Any]],
    max_tokens: int,
) -> AIMessage:
    """Call the tenant's model, and settle the call with what the provider counted.

    Raises `ModelFailed` or `ModelTimeout`; the call's hold is then the run's to give back.
    """
    name = model_name(turn.tenant, models)
    prompt = [system_prompt(turn.tenant, passages), *messages]
    options: dict[str, Any] = {"max_tokens": max_tokens, **({"tools": tools} if tools else {})}
    try:
        answer = await models.get(name).ainvoke(prompt, **options)
    except ValidationError:  # of LangChain's own types: its text may quote the answer
        raise ModelFailed(NO_MESSAGE) from None
    if not isinstance(answer, AIMessage):
        raise ModelFailed(NO_MESSAGE)
    await turn.settle(call, _counted(answer, prompt), name)
    return sound(answer)


def _counted(answer: AIMessage, prompt: Sequence[BaseMessage]) -> Tokens:
    """The provider's figure, also when it is zero; an estimate only where there is none."""
    if usage := answer.usage_metadata:
        return Tokens(usage["input_tokens"], usage["output_tokens"])
    size = sum(token_bound(message.text) for message in prompt)
    return Tokens(ceil(size / BYTES_PER_TOKEN), ceil(token_bound(answer.text) / BYTES_PER_TOKEN))
