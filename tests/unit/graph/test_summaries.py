"""Which part of a thread is summarised, and what a prompt has in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from graph.prompts import window
from graph.summaries import due
from tenancy.summary import Summary


def talk(turns: int, first: int = 0) -> list[BaseMessage]:
    """So many questions and answers, with ids."""
    said: list[BaseMessage] = []
    for number in range(first, first + turns):
        said += [
            HumanMessage(f"q{number}", id=f"q{number}"),
            AIMessage(f"a{number}", id=f"a{number}"),
        ]
    return said


def texts(messages: list[BaseMessage]) -> list[str]:
    return [message.text for message in messages]


def test_a_summary_stands_for_what_it_covers() -> None:
    said = [*talk(4), HumanMessage("now")]
    first, *rest = window(said, Summary("<of old>", "a2"))
    assert "<summary>&lt;of old&gt;</summary>" in first.text
    assert texts(rest) == ["q3", "a3", "now"]


@pytest.mark.parametrize("summary", [None, Summary("of another thread", "z9")])
def test_a_summary_of_what_is_not_there_says_nothing(summary: Summary | None) -> None:
    said = [*talk(2), HumanMessage("now")]
    assert window(said, summary) == said


def test_short_threads_are_not_summarised() -> None:
    assert due(talk(5), None, 10) == []
    assert due(talk(20), Summary("s", "a14"), 10) == []


def test_the_latest_messages_stay_as_they_are() -> None:
    assert [turn[-1].id for turn in due(talk(6), None, 10)] == ["a0", "a1", "a2", "a3"]
    assert [turn[-1].id for turn in due(talk(6), None, 0)] == ["a0", "a1", "a2", "a3", "a4"]


def test_a_summary_goes_on_from_the_one_before() -> None:
    assert [turn[-1].id for turn in due(talk(12), Summary("s", "a5"), 10)] == [
        "a6",
        "a7",
        "a8",
        "a9",
    ]


def test_the_traffic_with_tools_counts_for_nothing_and_is_never_cut_apart() -> None:
    call = AIMessage("", id="c", tool_calls=[{"name": "t", "args": {}, "id": "1"}])
    tools = [HumanMessage("q", id="q"), call, ToolMessage("r", tool_call_id="1", id="r")]
    said = [*tools, AIMessage("a", id="a"), *talk(1)]
    assert due(said, None, 4) == []
    assert [len(turn) for turn in due([*said, *talk(1, first=1)], None, 4)] == [4, 2]


def test_more_than_one_prompt_holds_comes_later() -> None:
    said = [
        message.model_copy(update={"content": "x" * 2000, "id": message.id}) for message in talk(40)
    ]
    turns = due(said, None, 2)
    assert 0 < len(turns) < 39
    assert turns[0][0].id == "q0"


@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 40))
def test_summary_and_prompt_lose_no_turn(turns: int, most: int, upto: int) -> None:
    summary = Summary("s", f"a{upto}") if upto < turns - 1 else None
    said = talk(turns)
    found = due(said, summary, most)
    after = Summary("s", str(found[-1][-1].id)) if found else summary
    first = int(after.upto[1:]) + 1 if after else 0
    kept = window([*said, HumanMessage("now")], after)[bool(after) :]
    assert texts(kept)[-1] == "now"
    if turns - first <= 19:
        assert texts(kept) == [*texts(talk(turns - first, first)), "now"]
    if found:
        assert 1 <= turns - first <= max(1, most // 4 + 1)
