"""What does the tenant know about it?"""

from graph.passages import numbered
from graph.ports import Passages, Turn
from graph.prompts import question_of
from graph.state import AgentState, Update
from tenancy.errors import require_own
from tenancy.usage import Meter

PASSAGES = 5  # more add cost faster than answers


async def retrieve(state: AgentState, turn: Turn, *, passages: Passages) -> Update:
    """Passages from this tenant's documents, best first, as the assistant looks them up."""
    tenant_id = turn.principal.tenant_id
    setting = turn.tenant.effective.search
    limit = PASSAGES if setting.limit is None else setting.limit
    if limit == 0:
        return {"passages": []}
    question = question_of(state["messages"])
    found = await passages.search(tenant_id, question, limit, setting.within)
    require_own(tenant_id, (passage.tenant_id for passage in found.passages), "retrieval")
    turn.used(Meter.EMBEDDING_TOKENS, found.embedding_tokens, found.embedding_model, "retrieve")
    return {"passages": numbered(found.passages, after=[])}
