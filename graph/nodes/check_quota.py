"""May it run now?"""

from graph.budget import first_hold
from graph.ports import Turn
from graph.state import AgentState, Update


async def check_quota(state: AgentState, turn: Turn) -> Update:
    """Admit the run: request rate, slot and token budget at once. A refusal writes nothing."""
    await turn.admit(*first_hold(state, turn.tenant))
    return {}
