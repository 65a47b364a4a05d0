"""Where a run goes next."""

from typing import Literal

from graph.prompts import is_answer
from graph.state import AgentState


async def after_respond(state: AgentState) -> Literal["run_tools", "settle"]:
    """An answer ends the run; a request for tools runs them. Async: a sync one runs in a thread."""
    return "settle" if is_answer(state["messages"][-1]) else "run_tools"
