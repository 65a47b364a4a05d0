"""Whose run is this?"""

from graph.ports import Turn
from graph.state import AgentState, Update


async def authenticate(state: AgentState, turn: Turn) -> Update:
    """Stamp the verified tenant into state, and clear what the turn before left there."""
    return {"tenant_id": turn.principal.tenant_id, "tools": [], "passages": []}
