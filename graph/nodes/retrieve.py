"""What does the tenant know about it?"""

from graph.passages import numbered
from graph.ports import Passages, Turn
from graph.prompts import question_of
from graph.state import AgentState, Update
from tenancy.errors import require_own
from tenancy.usage import Meter

PASSAGES = 5  # more add cost faster than answers


async def retrieve(state: AgentState, turn: Turn, *, passages: Passages) -> Update:
    """Passages from this tenant's documents, best first."""
    tenant_id = turn.principal.tenant_id
    wanted = turn.tenant.effective.passages
    limit = PASSAGES if wanted is None else wanted
    if limit == 0:
        return {"passages": []}
    found = await passages.search(tenant_id, question_of(state["messages"]), limit)
    require_own(tenant_id, (passage.tenant_id for passage in found.passages), "retrieval")
    turn.used(Meter.EMBEDDING_TOKENS, found.embedding_tokens, found.embedding_model, "retrieve")
    return {"passages": numbered(found.passages, after=[])}
