"""A person decides before some tools run."""

import pytest
from langchain_core.messages import ToolCall

from graph import approval
from graph.approval import Approved, Rejected

CALL = ToolCall(name="pay", args={"amount": 1}, id="1")


def test_approval_runs_the_call_as_it_is() -> None:
    assert approval._decide(CALL, {"type": "approve"}) == Approved(CALL, by_person=True)


def test_an_edit_changes_the_arguments_only() -> None:
    decided = approval._decide(
        CALL, {"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 2}}}
    )
    assert decided == Approved({**CALL, "args": {"amount": 2}}, by_person=True)


def test_an_edit_cannot_change_the_tool() -> None:
    decided = approval._decide(CALL, {"type": "edit", "edited_action": {"name": "x", "args": {}}})
    assert isinstance(decided, Rejected)


@pytest.mark.parametrize(
    "answer", [None, {}, "approve", {"decisions": None}, {"decisions": ["approve"]}, 7]
)
def test_an_answer_that_makes_no_sense_rejects(answer: object) -> None:
    [decision] = approval._decisions(answer, 1)
    assert isinstance(approval._decide(CALL, decision), Rejected)


def test_a_missing_decision_rejects() -> None:
    decisions = approval._decisions({"decisions": [{"type": "approve"}]}, 2)
    assert [d.get("type") for d in decisions] == ["approve", "reject"]
