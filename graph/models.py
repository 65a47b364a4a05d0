"""The one door of every prompt: it stamps the tenant and settles what the call cost."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langgraph.constants import TAG_NOSTREAM
from pydantic import ValidationError

from graph.answers import sound
from graph.budget import model_name, prompt_bound, schema_text
from graph.ports import NOTHING, Models, Slot, Turn
from graph.prompts import system_prompt
from graph.state import NumberedPassage
from tenancy.audit import Outcome
from tenancy.errors import BreakerOpen, ModelFailed
from tenancy.memory import Memory
from tenancy.quota import token_bound
from tenancy.tenant import Tenant
from tenancy.usage import Tokens

NO_MESSAGE = "The model endpoint answered with something that is no message."
BYTES_PER_TOKEN = 4  # of English text; used only where a provider reports no usage at all


class Answer(NamedTuple):
    """What was answered, and by which model."""

    message: AIMessage
    model: str


async def ask(
    turn: Turn,
    messages: Sequence[BaseMessage],
    passages: Sequence[NumberedPassage],
    *,
    call: int,
    models: Models,
    tools: Sequence[dict[str, Any]],
    max_tokens: int,
    model: str | None = None,
    memories: Sequence[Memory] = (),
    patience_seconds: float | None = None,
) -> Answer:
    """Ask `model`, or the tenant's, else the first of its fallbacks that answers; settle the call.

    Raises what the first model failed with, or what ended an answer that had begun; `BreakerOpen`
    where none could be asked. The hold of a call that cost nothing is then the run's to give back.
    A model that takes longer than `patience_seconds` is a `TimeoutError`, and charged.
    """
    first = model or model_name(turn.tenant, models)
    options: dict[str, Any] = {"max_tokens": max_tokens, **({"tools": tools} if tools else {})}
    temperature = turn.tenant.effective.last("temperature")
    if temperature is not None:
        options["temperature"] = temperature
    if call < 0:  # it prepares an answer: who reads along reads that one
        options["config"] = {"tags": [TAG_NOSTREAM]}
    asking = _Asking(
        turn,
        models,
        call,
        prompt=[system_prompt(turn.tenant, passages, memories), *messages],
        bound=prompt_bound(turn.tenant, messages, passages, schema_text(tools), memories),
        options=options,
        patience_seconds=patience_seconds,
    )
    try:
        return await asking.first_of(_chain(turn.tenant, models, first))
    except BaseException:
        asking.forfeit()
        raise


def _chain(tenant: Tenant, models: Models, first: str) -> list[str]:
    plan = tenant.plan
    allowed = [name for name in plan.fallback_models if plan.allows_model(name, models.default)]
    return [*dict.fromkeys([first, *allowed])]


@dataclass(slots=True)
class _Asking:
    """One call, of one model after the other until one answers.

    `lost` is what those that failed halfway may have counted; `owing` is the model to which the
    hold belongs if nothing settles it any more.
    """

    turn: Turn
    models: Models
    call: int
    prompt: Sequence[BaseMessage]
    bound: int
    options: dict[str, Any]
    patience_seconds: float | None = None
    lost: Tokens = NOTHING
    owing: str | None = None

    async def first_of(self, chain: Sequence[str]) -> Answer:
        failures: list[ModelFailed] = []
        for name in chain:
            try:
                self.models.breakers.require_closed(self.turn.tenant.tenant_id, name)
                if name == chain[0] or await self._may_use(name):
                    return await self._answer(name, chain[0])
            except ModelFailed as failure:
                failures.append(failure)
                if failure.began or not failure.at_fault:
                    break
        await self._settle_lost()
        raise _telling(failures)

    async def _may_use(self, name: str) -> bool:
        return await self.turn.may_use(self.call, name, spent=self.lost)

    async def _answer(self, name: str, first: str) -> Answer:
        async with self.turn.slot(self.call, name) as slot:
            message = await self._attempt(name, slot)
            tokens = _counted(message, self.prompt)
            slot.served(tokens.total)
        await self.turn.settle(self.call, self.lost + tokens, name)
        self.owing = None  # not before: a run that is cancelled meanwhile owes it
        if name != first:
            self.turn.did("model.fall_back", name, Outcome.ALLOWED, instead_of=first)
        return Answer(sound(message), name)

    async def _attempt(self, name: str, slot: Slot) -> AIMessage:
        before = self.owing
        try:
            with self.models.breakers.call(self.turn.tenant.tenant_id, name):
                self.owing = name
                # Not around the slot: getting to the model clears the run, which is done or not.
                async with asyncio.timeout(self.patience_seconds):
                    return await _invoke(self.models.get(name), self.prompt, self.options)
        except ModelFailed as failure:
            cost = Tokens(self.bound, failure.received) if failure.received else NOTHING
            self.lost, self.owing = self.lost + cost, name if cost.total else before
            slot.served(cost.total)
            raise

    async def _settle_lost(self) -> None:
        if self.owing is not None:
            await self.turn.settle(self.call, self.lost, self.owing)
            self.owing = None

    def forfeit(self) -> None:
        if self.owing is not None:
            self.turn.forfeit(self.call, self.owing)


async def _invoke(
    model: BaseChatModel, prompt: Sequence[BaseMessage], options: dict[str, Any]
) -> AIMessage:
    try:
        answer = await model.ainvoke(prompt, **options)
    except ValidationError:  # of LangChain's own types: its text may quote the answer
        answer = None
    if not isinstance(answer, AIMessage):  # it may have been passed on, and counts as a long one
        raise ModelFailed(NO_MESSAGE, began=True, received=options["max_tokens"])
    return answer


def _telling(failures: Sequence[ModelFailed]) -> ModelFailed:
    """What to fail with: the end of an answer that had begun, the first failure, the soonest."""
    if failures[-1].began:
        return failures[-1]
    told = [failure for failure in failures if not isinstance(failure, BreakerOpen)]
    return told[0] if told else min(failures, key=lambda each: each.retry_after or timedelta())


def _counted(answer: AIMessage, prompt: Sequence[BaseMessage]) -> Tokens:
    """The provider's figure, also when it is zero; an estimate only where there is none."""
    if usage := answer.usage_metadata:
        return Tokens(usage["input_tokens"], usage["output_tokens"])
    size = sum(token_bound(message.text) for message in prompt)
    return Tokens(ceil(size / BYTES_PER_TOKEN), ceil(token_bound(answer.text) / BYTES_PER_TOKEN))
