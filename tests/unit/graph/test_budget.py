"""The ladder: each way of making a call, best first, and what it may cost at most."""

from dataclasses import replace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from graph.budget import USUAL_EXTRA, first_claims, offers, tool_calls_left
from graph.state import NumberedPassage
from tenancy.plan import MIN_OUTPUT_TOKENS
from tenancy.tenant import Tenant
from tests.unit.graph.turn import ACME

TOOLS = [{"type": "function", "function": {"name": "look_up"}}]
PASSAGES = [
    NumberedPassage(n=n, document_id=f"d{n}", passage_id=f"p{n}", title="T", text="x" * 300)
    for n in (1, 2)
]
EARLIER = [HumanMessage("Hello"), AIMessage("Hello, how can I help?")]


class _Models:
    default = "large"

    def get(self, name: str) -> Any:
        raise AssertionError(name)


def on(**changes: Any) -> Tenant:
    return replace(ACME, plan=replace(ACME.plan, **changes))


def state(*earlier: Any) -> Any:
    return {"messages": [*earlier, HumanMessage("Where is it?")], "passages": PASSAGES}


def ladder(tenant: Tenant, *earlier: Any, spent: int = 0) -> list[tuple[Any, ...]]:
    found = offers(state(*earlier), tenant, _Models(), TOOLS, spent=spent)
    return [
        (o.model, len(o.messages), len(o.passages), bool(o.tools), *map(str, o.steps))
        for o in found
    ]


def test_without_a_ladder_there_is_one_way() -> None:
    assert ladder(on(degrade=()), *EARLIER) == [("large", 3, 2, True)]


def test_the_context_gets_shorter_rung_by_rung() -> None:
    assert ladder(on(degrade=("context",)), *EARLIER) == [
        ("large", 3, 2, True),
        ("large", 3, 1, True, "context"),
        ("large", 3, 0, True, "context"),
        ("large", 1, 0, True, "context"),
        ("large", 1, 0, False, "context"),
    ]


def test_a_cheaper_model_comes_before_a_shorter_context() -> None:
    tenant = on(degrade=("model", "context"), cheaper_model="small")
    assert ladder(tenant)[:3] == [
        ("large", 1, 2, True),
        ("small", 1, 2, True, "model"),
        ("small", 1, 1, True, "model", "context"),
    ]


@pytest.mark.parametrize("cheaper", ["", "large"])
def test_a_ladder_without_a_cheaper_model_skips_that_rung(cheaper: str) -> None:
    assert ladder(on(degrade=("model",), cheaper_model=cheaper)) == [("large", 1, 2, True)]


def test_every_rung_of_context_takes_fewer_tokens() -> None:
    found = offers(state(*EARLIER), on(degrade=("context",)), _Models(), TOOLS, spent=0)
    tokens = [offer.claim.tokens for offer in found]
    assert tokens == sorted(tokens, reverse=True)
    assert all(offer.max_tokens == ACME.plan.max_output_tokens for offer in found)


def test_a_run_with_a_budget_of_its_own_answers_more_shortly() -> None:
    whole = offers(state(), ACME, _Models(), [], spent=0)[0].claim
    tenant = on(tokens_per_run=whole.input_tokens + 500)
    assert offers(state(), tenant, _Models(), [], spent=0)[0].max_tokens == 500
    assert offers(state(), tenant, _Models(), [], spent=100)[0].max_tokens == 400
    assert offers(state(), tenant, _Models(), [], spent=490)[0].max_tokens == MIN_OUTPUT_TOKENS


def test_admission_holds_prompt_and_answer_and_more_where_there_is_room() -> None:
    [needed], wanted = first_claims(state(), on(degrade=()), _Models())
    assert needed.tokens - needed.input_tokens == ACME.plan.max_output_tokens
    assert wanted.tokens == needed.tokens + USUAL_EXTRA


def test_tools_that_ran_count_against_the_run_and_those_of_earlier_turns_do_not() -> None:
    ran = ToolMessage("done", tool_call_id="1")
    turn = [HumanMessage("a"), ran, AIMessage("b"), HumanMessage("c"), ran, ran]
    assert tool_calls_left(on(tool_calls_per_run=3), turn) == 1
    assert tool_calls_left(on(tool_calls_per_run=1), turn) == 0
    assert tool_calls_left(on(tool_calls_per_run=-1), turn) > 1000
