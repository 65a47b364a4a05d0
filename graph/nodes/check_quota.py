"""May it run now?"""

from graph.budget import first_claims
from graph.ports import Models, Turn
from graph.state import AgentState, Update


async def check_quota(state: AgentState, turn: Turn, *, models: Models) -> Update:
    """Admit the run: rates, slots and budgets at once. A refusal writes nothing."""
    await turn.admit(*first_claims(state, turn.tenant, models, turn.summary))
    return {}
