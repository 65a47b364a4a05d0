"""What did it come to?"""

from graph.ports import Turn
from graph.state import AgentState, Update
from tenancy.audit import Outcome
from tenancy.usage import Meter


async def settle(state: AgentState, turn: Turn) -> Update:
    """Count the run and audit it: both ride in the run's last commit, with the real figures."""
    turn.used(Meter.RUNS, 1, "", "run")
    turn.did("run.finish", "", Outcome.ALLOWED)
    return {}
