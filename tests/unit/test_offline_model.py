"""The offline model quotes what it was given, cites it, and otherwise keeps quiet."""

import json
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool

from graph.offline_model import NOTHING_FOUND, OFFLINE_MODEL, OfflineChatModel
from graph.offline_sentences import passages_of, quotables
from graph.offline_words import stems
from tests.support.model_server import pseudo_embedding

SHIPPING = """\
# Shipping

We ship parcels every working day. Orders placed
before 14:00 leave the same day, e.g. from our depot.

Prices:

- Small parcel: 4.90 EUR
- **Large parcel** (over 10 kg): 9.90 EUR

| Country | Days |
|---------|------|
| France  | 2    |
| Germany | 3    |
"""
RETURNS = (
    "## Returns\nReturns are accepted within 30 days of delivery. Refunds take < 5 working days."
)
ORDER_STATUS = {
    "type": "function",
    "function": {
        "name": "order_status",
        "description": "Look up where an order is.",
        "parameters": {
            "type": "object",
            "properties": {"order_id": {"type": "string", "pattern": r"^[A-Z]-\d{4}$"}},
            "required": ["order_id"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "current_time",
        "description": "The current date and time.",
        "parameters": {"type": "object", "properties": {"timezone": {"type": "string"}}},
    },
}


async def embed(texts: Sequence[str]) -> list[list[float]]:
    return [meaning(text) for text in texts]


def meaning(text: str) -> list[float]:
    """A stand-in for a real embedding: what texts mean is the words they share."""
    return pseudo_embedding(" ".join(stems(text)))


model = OfflineChatModel(embed=embed)


def passage(n: int, text: str, title: str = "A title") -> str:
    return f'<passage n="{n}" title={quoteattr(title)}>{escape(text)}</passage>'


SYSTEM = SystemMessage(f"Be brief.\n{passage(1, SHIPPING)}\n{passage(2, RETURNS)}")


async def answer_to(question: str, *more: BaseMessage, **options: Any) -> AIMessage:
    return await model.ainvoke([SYSTEM, HumanMessage(question), *more], **options)


class TestAnswers:
    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("How much is a large parcel?", "Large parcel (over 10 kg): 9.90 EUR [1]"),
            ("How long do refunds take?", "Refunds take < 5 working days. [2]"),
            (
                "Within how many days are returns accepted?",
                "Returns are accepted within 30 days of delivery. [2]",
            ),
            ("How many days to Germany?", "Germany: 3 [1]"),
        ],
    )
    async def test_a_question_is_answered_by_the_sentence_that_holds_it(
        self, question: str, answer: str
    ) -> None:
        assert (await answer_to(question)).text.startswith(answer)

    async def test_at_most_two_sentences_are_quoted(self) -> None:
        text = (await answer_to("parcels days delivery working returns refunds")).text
        assert 1 <= text.count("[") <= 2

    @pytest.mark.parametrize("question", ["Who painted Guernica?", "hello", "", "¿?"])
    async def test_what_the_passages_do_not_hold_is_not_answered(self, question: str) -> None:
        assert (await answer_to(question)).text == NOTHING_FOUND

    async def test_without_passages_there_is_no_answer(self) -> None:
        answer = await model.ainvoke([HumanMessage(passage(1, "Parcels cost 5 EUR each."))])
        assert answer.text == NOTHING_FOUND  # what a user writes is no source

    async def test_the_last_question_counts(self) -> None:
        earlier = [
            HumanMessage("How long do refunds take?"),
            AIMessage("Refunds take a while. [2]"),
        ]
        asked = HumanMessage("How much is a small parcel?")
        answer = await model.ainvoke([SYSTEM, *earlier, asked])
        assert answer.text.startswith("Small parcel: 4.90 EUR [1]")

    async def test_the_embedder_may_be_synchronous(self) -> None:
        plain = OfflineChatModel(embed=lambda texts: list(map(meaning, texts)))
        answer = await plain.ainvoke([SYSTEM, HumanMessage("How much is a small parcel?")])
        assert answer.text.startswith("Small parcel")

    async def test_a_limit_on_tokens_cuts_the_answer(self) -> None:
        answer = await answer_to("How long do refunds take?", max_tokens=3)
        assert answer.text == "Refunds take"
        assert answer.response_metadata["finish_reason"] == "length"

    async def test_tokens_are_bytes_over_four_rounded_up(self) -> None:
        answer = await model.ainvoke([HumanMessage("größe")])
        spoken = -(-len(NOTHING_FOUND) // 4)
        assert answer.usage_metadata == {
            "input_tokens": 2,
            "output_tokens": spoken,
            "total_tokens": 2 + spoken,
        }
        assert answer.response_metadata["model_name"] == OFFLINE_MODEL

    def test_the_synchronous_call_says_what_to_use(self) -> None:
        with pytest.raises(NotImplementedError, match="ainvoke"):
            model.invoke("hello")


class TestStream:
    async def test_a_stream_adds_up_to_the_answer(self) -> None:
        messages = [SYSTEM, HumanMessage("How long do refunds take?")]
        chunks = [chunk async for chunk in model.astream(messages)]
        whole = chunks[0]
        for chunk in chunks[1:]:
            whole = whole + chunk
        answer = await model.ainvoke(messages)
        assert isinstance(whole, AIMessageChunk)
        assert whole.text == answer.text
        assert whole.usage_metadata == answer.usage_metadata
        assert whole.response_metadata == answer.response_metadata
        assert [chunk.chunk_position for chunk in chunks[-2:]] == [None, "last"]
        assert len(chunks) > 5

    async def test_a_tool_call_streams_too(self) -> None:
        whole: Any = None
        stream = model.bind_tools([ORDER_STATUS]).astream([HumanMessage("Where is order A-1001?")])
        async for chunk in stream:
            whole = chunk if whole is None else whole + chunk
        assert [call["args"] for call in whole.tool_calls] == [{"order_id": "A-1001"}]


def called(answer: AIMessage) -> list[tuple[str, dict[str, Any]]]:
    return [(call["name"], call["args"]) for call in answer.tool_calls]


class TestTools:
    @pytest.mark.parametrize(
        ("question", "calls"),
        [
            ("Where is my order A-1001?", [("order_status", {"order_id": "A-1001"})]),
            ("Where is my order?", []),
            ("Where is my order ZZ-10?", []),
            ("Was invoice A-1001 paid?", []),
            ("What is the current time?", [("current_time", {})]),
            ("What is the delivery time to France?", []),
            ('/order_status {"order_id": "x"}', [("order_status", {"order_id": "x"})]),
            ("/current_time", [("current_time", {})]),
            ("/order_status {broken}", []),
            ("/unknown {}", []),
        ],
    )
    async def test_a_tool_is_called_only_when_plainly_asked_for(
        self, question: str, calls: list[Any]
    ) -> None:
        assert called(await answer_to(question, tools=[ORDER_STATUS, CLOCK])) == calls

    async def test_a_tool_of_langchain_can_be_bound(self) -> None:
        @tool
        def refund(order_id: str, amount: int) -> str:
            """Refund an order."""
            return f"{order_id} {amount}"

        bound = model.bind_tools([refund])
        answer = await bound.ainvoke([HumanMessage("Please refund 30 EUR on order 20931!")])
        assert called(answer) == [("refund", {"order_id": "20931", "amount": 30})]

    async def test_none_means_none(self) -> None:
        bound = model.bind_tools([CLOCK], tool_choice="none")
        assert called(await bound.ainvoke([HumanMessage("/current_time")])) == []

    async def test_a_pattern_that_could_run_for_ever_is_not_run(self) -> None:
        trap = json.loads(json.dumps(ORDER_STATUS))
        trap["function"]["parameters"]["properties"]["order_id"]["pattern"] = "^(a+)+$"
        question = f"Where is order {'a' * 60}!x"
        assert called(await answer_to(question, tools=[trap])) == []

    async def test_a_result_is_the_answer(self) -> None:
        call = AIMessage("", tool_calls=[{"name": "order_status", "args": {}, "id": "1"}])
        result = ToolMessage("Order A-1001 is on its way.", tool_call_id="1")
        answer = await answer_to("Where is order A-1001?", call, result, tools=[ORDER_STATUS])
        assert (answer.text, answer.tool_calls) == ("Order A-1001 is on its way.", [])

    async def test_passages_in_a_result_are_quoted(self) -> None:
        call = AIMessage("", tool_calls=[{"name": "search_documents", "args": {}, "id": "1"}])
        result = ToolMessage(passage(3, "Gift wrapping costs 2 EUR."), tool_call_id="1")
        answer = await answer_to("What does gift wrapping cost?", call, result)
        assert answer.text == "Gift wrapping costs 2 EUR. [3]"


class TestReading:
    @pytest.mark.parametrize("title", ["plain", 'with "quotes" > and <', "it's", 'n="7"', "a\nb"])
    def test_any_title_and_text_survive(self, title: str) -> None:
        text = 'a < b && c > d </passage> "quoted" &amp;'
        assert passages_of(passage(4, text, title) + passage(5, "x y")) == [
            ("4", text),
            ("5", "x y"),
        ]

    @pytest.mark.parametrize(
        "text", ["<passage>", "<passage n='1'", "</passage>", "<passages n='1'>a</passages>"]
    )
    def test_what_is_no_passage_is_none(self, text: str) -> None:
        assert passages_of(text) == []

    def test_markdown_is_read_as_its_sentences_under_their_headings(self) -> None:
        read = [(quotable.context, quotable.text) for quotable in quotables([("1", SHIPPING)])]
        assert read == [
            ("Shipping", "We ship parcels every working day."),
            ("Shipping", "Orders placed before 14:00 leave the same day, e.g. from our depot."),
            ("Shipping, Prices", "Small parcel: 4.90 EUR"),
            ("Shipping, Prices", "Large parcel (over 10 kg): 9.90 EUR"),
            ("Shipping, Country: Days", "France: 2"),
            ("Shipping, Country: Days", "Germany: 3"),
        ]

    def test_a_sentence_said_twice_is_read_once(self) -> None:
        read = quotables([("1", "We ship daily."), ("2", "We ship daily.")])
        assert [quotable.number for quotable in read] == ["1"]


async def test_the_heading_path_of_a_passage_is_not_quoted() -> None:
    text = "Returns > How long you have\nAcme accepts returns within 30 days of delivery."
    quotable = quotables([("1", text)])
    assert [each.text for each in quotable] == ["Acme accepts returns within 30 days of delivery."]
