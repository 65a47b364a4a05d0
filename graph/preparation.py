"""What a model is asked before the answer: it may help, and nothing that it does can end a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from langchain_core.messages import HumanMessage

from graph.budget import model_name, output_limit, prompt_bound
from graph.models import Answer, ask
from graph.offline_model import OFFLINE_MODEL
from graph.ports import Models, Turn
from graph.state import NumberedPassage
from tenancy.audit import Outcome
from tenancy.errors import ModelFailed, QuotaExceeded, Refusal
from tenancy.quota import Claim

T = TypeVar("T")

PATIENCE_SECONDS = 10.0  # somebody waits for the answer that comes after it


@dataclass(frozen=True, slots=True)
class Preparation(Generic[T]):
    """A wish, and how what is said to it is read: as None where it is of no use.

    `call` is below 0: the hold that the run was admitted with stays the answer's. `action` names
    it in the audit.
    """

    action: str
    call: int
    wish: str
    max_tokens: int
    read: Callable[[str], T | None]
    passages: Sequence[NumberedPassage] = ()


async def prepared(
    asked: Preparation[T], turn: Turn, models: Models, *, patience_seconds: float = PATIENCE_SECONDS
) -> T | None:
    """What the tenant's model says, or None: it failed, was late, or the budgets say no.

    Raises `Overloaded` where the model has no room in time: it has none for the answer either.
    """
    if model_name(turn.tenant, models) == OFFLINE_MODEL:
        return None  # it quotes, and does nothing else
    try:
        answer = await _answer(asked, turn, models, patience_seconds)
    except (ModelFailed, QuotaExceeded, TimeoutError) as error:
        outcome = Outcome.REFUSED if isinstance(error, Refusal) else Outcome.FAILED
        turn.did(asked.action, "", outcome, reason=type(error).__name__)
        return None
    found = asked.read(answer.message.text) if _is_whole(answer) else None
    if found is None:
        turn.did(asked.action, "", Outcome.FAILED, reason="Unusable", model=answer.model)
    else:
        turn.did(asked.action, "", Outcome.ALLOWED, model=answer.model)
    return found


async def _answer(
    asked: Preparation[T], turn: Turn, models: Models, patience_seconds: float
) -> Answer:
    messages, model = [HumanMessage(asked.wish)], model_name(turn.tenant, models)
    prompt = prompt_bound(turn.tenant, messages, asked.passages)
    most = min(asked.max_tokens, output_limit(turn.tenant))
    if await turn.reserve(asked.call, [Claim(prompt + most, 0, prompt, model)]) is None:
        raise QuotaExceeded("tokens", timedelta())
    return await ask(
        turn,
        messages,
        asked.passages,
        call=asked.call,
        models=models,
        model=model,
        tools=[],
        max_tokens=most,
        patience_seconds=patience_seconds,
    )


def _is_whole(answer: Answer) -> bool:
    """Whether it was not cut off, and not quoted by the model of last resort."""
    cut = answer.message.response_metadata.get("finish_reason") == "length"
    return not cut and answer.model != OFFLINE_MODEL
