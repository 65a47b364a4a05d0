"""What may it use?"""

from graph.ports import Turn
from graph.prompts import question_of
from graph.state import AgentState, Update
from tools.toolbox import MANY, Toolboxes


async def select_tools(state: AgentState, turn: Turn, *, toolboxes: Toolboxes) -> Update:
    """The names of the tools this principal may use now; of many, those closest to the question."""
    toolbox = toolboxes.of(turn.tenant, turn.principal)
    return {"tools": list(toolbox.closest(question_of(state["messages"]), MANY))}
