"""What a call costs when its answer is none, or when something else breaks in the middle of it."""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from graph.budget import prompt_bound
from graph.models import NO_MESSAGE, ask
from server.breakers import Breakers
from tenancy.errors import ModelFailed
from tenancy.usage import Tokens
from tests.unit.graph.turn import RecordingTurn

QUESTION = [HumanMessage("q")]


class _Broken:
    """The models of a deployment whose one model does what it is told to."""

    default = "test"

    def __init__(self, answer: Any) -> None:
        self.breakers = Breakers()
        self.answer = answer

    def get(self, name: str) -> Any:
        return self

    async def ainvoke(self, prompt: object, **options: object) -> Any:
        return self.answer()


def no_message() -> AIMessage:
    return AIMessage(content={"private": "what the endpoint said"})  # type: ignore[arg-type]  # what no endpoint should say


async def _ask(turn: RecordingTurn, answer: Any) -> None:
    models: Any = _Broken(answer)
    await ask(turn, QUESTION, [], call=0, models=models, tools=[], max_tokens=50)


@pytest.mark.parametrize("answer", [no_message, lambda: "text"])
async def test_what_is_no_message_is_paid_as_the_longest_answer(answer: Any) -> None:
    turn = RecordingTurn()
    with pytest.raises(ModelFailed) as caught:
        await _ask(turn, answer)
    assert caught.value.detail == NO_MESSAGE
    assert caught.value.__cause__ is caught.value.__context__ is None
    bound = prompt_bound(turn.tenant, QUESTION, [])
    assert turn.settled == [(0, Tokens(bound, 50), "test")]


async def test_a_call_in_which_something_else_breaks_is_forfeited() -> None:
    turn = RecordingTurn()
    with pytest.raises(ZeroDivisionError):
        await _ask(turn, lambda: 1 // 0)
    assert (turn.forfeited, turn.settled) == ([(0, "test")], [])


class _Interrupted(RecordingTurn):
    """Its run is cancelled while a call is being settled."""

    async def settle(self, call: int, tokens: Tokens, model: str) -> None:
        raise asyncio.CancelledError


@pytest.mark.parametrize("answer", [no_message, lambda: AIMessage("Here.")])
async def test_a_call_whose_run_is_cancelled_while_it_settles_is_forfeited(answer: Any) -> None:
    turn = _Interrupted()
    with pytest.raises(asyncio.CancelledError):
        await _ask(turn, answer)
    assert turn.forfeited == [(0, "test")]
