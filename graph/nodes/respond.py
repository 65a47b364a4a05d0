"""What does the model say?"""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage

from graph.answers import without_calls
from graph.budget import model_name, offers, tool_calls_left
from graph.models import ask
from graph.notes import searched_for, with_notes
from graph.ports import Memories, Models, Turn
from graph.prompts import is_answer, question_of, turns_of
from graph.state import AgentState, NumberedPassage, Update
from tenancy.citation import citations, with_known_marks
from tenancy.memory import RECALLED, Memory, Recall
from tenancy.usage import Meter
from tools.toolbox import Toolboxes

OUT_OF_STEPS = "I had to stop here: I did not come to an answer."
OUT_OF_BUDGET = "I had to stop here: the token budget of this plan is used up for now."


async def respond(
    state: AgentState, turn: Turn, *, models: Models, toolboxes: Toolboxes, memories: Memories
) -> Update:
    """Reserve, call the model, settle. A budget that ends here ends the answer, not the run."""
    call, tools = turn.next_call(), _shown(state, turn, toolboxes)
    spent, summary = turn.tokens.total, turn.summary
    recalled = await _recalled(state, turn, memories)
    ways = offers(
        state, turn.tenant, models, tools, spent=spent, summary=summary, memories=recalled
    )
    taken = await turn.reserve(call, [offer.claim for offer in ways])
    if taken is None:
        model = model_name(turn.tenant, models)
        return {"messages": [_noted(state, AIMessage(OUT_OF_BUDGET), [], model)]}
    offer = ways[taken]
    turn.degrade(offer.steps)
    _may_cite(turn, offer.passages)
    answer, model = await ask(
        turn,
        offer.messages,
        offer.passages,
        call=call,
        models=models,
        model=offer.model,
        tools=offer.tools,
        max_tokens=offer.max_tokens,
        memories=offer.memories,
    )
    if _is_last_step(state, turn):  # or one that is shown no tools would ask for them for ever
        answer = without_calls(answer, OUT_OF_STEPS)
    return {"messages": [_noted(state, answer, offer.passages, model)]}


def _may_cite(turn: Turn, passages: Sequence[NumberedPassage]) -> None:
    turn.citable.clear()
    turn.citable.update(passage["n"] for passage in passages)


async def _recalled(state: AgentState, turn: Turn, memories: Memories) -> Sequence[Memory]:
    """What goes into the prompt and never into the state: what is forgotten is in no later run."""
    if turn.memory is Recall.SOME and not turn.recalled:
        question = question_of(state["messages"])
        found = await memories.recall(turn.principal, question, RECALLED)
        tokens, model = found.embedding_tokens, found.embedding_model
        turn.used(Meter.EMBEDDING_TOKENS, tokens, model, "recall")
        turn.recalled.extend(found.memories)
    return turn.recalled


def _is_last_step(state: AgentState, turn: Turn) -> bool:
    made = sum(isinstance(m, AIMessage) for m in turns_of(state["messages"])[-1])
    return made + 1 >= turn.tenant.plan.steps_per_run


def _shown(state: AgentState, turn: Turn, toolboxes: Toolboxes) -> list[dict[str, Any]]:
    if _is_last_step(state, turn) or not tool_calls_left(turn.tenant, state["messages"]):
        return []
    return toolboxes.of(turn.tenant, turn.principal).schemas(state["tools"])


def _noted(
    state: AgentState, answer: AIMessage, passages: Sequence[NumberedPassage], model: str
) -> AIMessage:
    if not is_answer(answer):
        return with_notes(answer, citations=[], model=model)
    text = with_known_marks(answer.text, passages)
    cited = [dict(each) for each in citations(text, passages)]
    answer = answer.model_copy(update={"content": text})
    return with_notes(answer, citations=cited, model=model, **searched_for(state))
