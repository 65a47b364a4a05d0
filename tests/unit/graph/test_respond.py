"""The model call fits the budget, or the answer ends."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from graph.nodes.respond import OUT_OF_BUDGET, respond
from graph.notes import notes_of
from graph.state import NumberedPassage
from server.breakers import Breakers
from tenancy.ids import MemoryId
from tenancy.memory import Memory, Recall, Recalled
from tenancy.principal import Principal
from tenancy.usage import Meter
from tests.unit.graph.turn import RecordingTurn

PASSAGES = [
    NumberedPassage(n=n, document_id=f"d{n}", passage_id=f"p{n}", title="T", text="x" * 500)
    for n in (1, 2, 3)
]


class _Models:
    default = "test"

    def __init__(self, *answers: AIMessage) -> None:
        self.model = GenericFakeChatModel(messages=iter(answers))
        self.breakers = Breakers()

    def get(self, name: str) -> GenericFakeChatModel:
        return self.model


class _NoTools:
    def of(self, tenant: object, principal: object) -> Any:
        return self

    def schemas(self, names: object) -> list[object]:
        return []


class _Diary:
    """What is remembered of alice."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.questions: list[str] = []

    async def recall(self, principal: Principal, question: str, limit: int) -> Recalled:
        self.questions.append(question)
        now, own = datetime.now(UTC), principal.subject_id
        found = [
            Memory(principal.tenant_id, MemoryId(UUID(int=n)), own, text, now, now)
            for n, text in enumerate(self.texts)
        ]
        return Recalled(found, "minilm", 3)


NOTHING_KNOWN = _Diary()


async def _respond(
    turn: RecordingTurn, answer: AIMessage, memories: _Diary = NOTHING_KNOWN
) -> AIMessage:
    state: Any = {"messages": [HumanMessage("q")], "passages": PASSAGES, "tools": []}
    toolboxes: Any = _NoTools()
    models: Any = _Models(answer)
    update = await respond(state, turn, models=models, toolboxes=toolboxes, memories=memories)
    [message] = update["messages"]
    assert isinstance(message, AIMessage)
    return message


async def test_citations_are_the_passages_the_answer_names() -> None:
    answer = await _respond(RecordingTurn(), AIMessage("Yes [2]."))
    assert [c["document_id"] for c in notes_of(answer)["citations"]] == ["d2"]


async def test_a_small_budget_takes_fewer_passages() -> None:
    turn = RecordingTurn()
    turn.affordable = lambda claim: claim.tokens < turn.holds[0].tokens - 800
    answer = await _respond(turn, AIMessage("Yes [1] and [3]."))
    assert [c["n"] for c in notes_of(answer)["citations"]] == [1]
    asked = [claim.tokens for claim in turn.holds]
    assert asked == sorted(asked, reverse=True)
    assert turn.steps == ["context"]


async def test_an_exhausted_budget_ends_the_answer_without_a_model_call() -> None:
    turn = RecordingTurn(affordable=lambda claim: False)
    answer = await _respond(turn, AIMessage("never"))
    assert answer.text == OUT_OF_BUDGET
    assert turn.settled == []


@pytest.mark.parametrize(("reported", "expected"), [((0, 0), 0), ((7, 5), 12)])
async def test_the_providers_figure_is_settled_also_when_it_is_zero(
    reported: tuple[int, int], expected: int
) -> None:
    turn = RecordingTurn()
    usage: Any = {
        "input_tokens": reported[0],
        "output_tokens": reported[1],
        "total_tokens": sum(reported),
    }
    await _respond(turn, AIMessage("ok", usage_metadata=usage))
    assert turn.settled[0][1].total == expected


async def test_a_missing_figure_is_estimated() -> None:
    turn = RecordingTurn()
    await _respond(turn, AIMessage("ok"))
    assert turn.settled[0][1].total > 0


async def test_an_answer_holds_nothing_that_a_store_refuses() -> None:
    answer = await _respond(RecordingTurn(), AIMessage("a\0b\ud800c"))
    assert answer.text == "abc"


async def test_a_run_recalls_once_and_pays_for_it() -> None:
    turn, diary = RecordingTurn(memory=Recall.SOME), _Diary("likes tea")
    for _ in range(2):
        await _respond(turn, AIMessage("ok"), diary)
    assert diary.questions == ["q"]
    assert turn.usage == [(Meter.EMBEDDING_TOKENS, 3)]
    assert [memory.text for memory in turn.recalled] == ["likes tea"]


@pytest.mark.parametrize("memory", [Recall.OFF, Recall.EMPTY])
async def test_where_nothing_is_remembered_nobody_is_asked(memory: Recall) -> None:
    diary = _Diary("likes tea")
    await _respond(RecordingTurn(memory=memory), AIMessage("ok"), diary)
    assert diary.questions == []


async def test_memories_count_for_the_budget_and_go_last() -> None:
    turn = RecordingTurn(memory=Recall.SOME)
    await _respond(turn, AIMessage("ok"), _Diary("x" * 400))
    plain = RecordingTurn()
    await _respond(plain, AIMessage("ok"))
    assert turn.holds[0].tokens > plain.holds[0].tokens + 400
    turn.holds.clear()
    turn.affordable = lambda claim: claim.tokens < plain.holds[0].tokens - 1600
    await _respond(turn, AIMessage("ok"), _Diary("x" * 400))
    assert turn.steps == ["context"]
