"""What may it use?"""

from graph.ports import Turn
from graph.prompts import question_of
from graph.state import AgentState, Update
from tenancy.memory import Recall
from tools.memory import MEMORY_TOOLS
from tools.toolbox import MANY, Toolboxes


async def select_tools(state: AgentState, turn: Turn, *, toolboxes: Toolboxes) -> Update:
    """The names of the tools this principal may use now; of many, those closest to the question."""
    toolbox = toolboxes.of(turn.tenant, turn.principal)
    chosen = toolbox.closest(question_of(state["messages"]), MANY)
    hidden = MEMORY_TOOLS if turn.memory is Recall.OFF else frozenset[str]()
    return {"tools": [name for name in chosen if name not in hidden]}
