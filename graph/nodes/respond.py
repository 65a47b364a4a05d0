"""What does the model say?"""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from graph.answers import without_calls
from graph.budget import output_limit, prompt_bound
from graph.models import ask, model_name, schema_text
from graph.notes import with_notes
from graph.ports import Models, Turn
from graph.prompts import is_answer, turns_of, window
from graph.state import AgentState, NumberedPassage, Update
from tenancy.citation import citations
from tools.toolbox import Toolboxes

MAX_ROUNDS = 5  # of tools; then the model must answer with what it has
OUT_OF_ROUNDS = "I had to stop here: I did not come to an answer."
OUT_OF_BUDGET = "I had to stop here: the token budget of this plan is used up for now."


async def respond(state: AgentState, turn: Turn, *, models: Models, toolboxes: Toolboxes) -> Update:
    """Reserve, call the model, settle. A budget that ends here ends the answer, not the run."""
    messages = window(state["messages"])
    call = turn.next_call()
    chosen = await _afford(turn, call, messages, state["passages"], _shown(state, turn, toolboxes))
    if chosen is None:
        return {"messages": [_noted(AIMessage(OUT_OF_BUDGET), [], turn, models)]}
    passages, tools = chosen
    answer = await ask(
        turn,
        messages,
        passages,
        call=call,
        models=models,
        tools=tools,
        max_tokens=output_limit(turn.tenant),
    )
    if _is_last_round(state):  # a model that asks for tools it was not shown would ask for ever
        answer = without_calls(answer, OUT_OF_ROUNDS)
    return {"messages": [_noted(answer, passages, turn, models)]}


def _is_last_round(state: AgentState) -> bool:
    return sum(isinstance(m, AIMessage) for m in turns_of(state["messages"])[-1]) >= MAX_ROUNDS


def _shown(state: AgentState, turn: Turn, toolboxes: Toolboxes) -> list[dict[str, Any]]:
    if _is_last_round(state):
        return []
    return toolboxes.of(turn.tenant, turn.principal).schemas(state["tools"])


Chosen = tuple[Sequence[NumberedPassage], Sequence[dict[str, Any]]]


async def _afford(
    turn: Turn,
    call: int,
    messages: Sequence[BaseMessage],
    passages: Sequence[NumberedPassage],
    tools: Sequence[dict[str, Any]],
) -> Chosen | None:
    """As many passages, best first, as the budget holds; without tools only when it must be."""
    options: list[Chosen] = [(passages[:n], tools) for n in range(len(passages), -1, -1)]
    for offered, shown in [*options, ([], [])]:
        bound = prompt_bound(turn.tenant, messages, offered, schema_text(shown))
        if await turn.reserve(call, bound + output_limit(turn.tenant)):
            return offered, shown
    return None


def _noted(
    answer: AIMessage, passages: Sequence[NumberedPassage], turn: Turn, models: Models
) -> AIMessage:
    cited = citations(answer.text, passages) if is_answer(answer) else []
    model = model_name(turn.tenant, models)
    return with_notes(answer, citations=[dict(each) for each in cited], model=model)
