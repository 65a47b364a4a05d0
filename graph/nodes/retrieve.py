"""What does the tenant know about it?"""

from collections.abc import Sequence

from graph.passages import numbered
from graph.ports import Models, Passages, Turn
from graph.prompts import question_of
from graph.reranking import candidates, reranked
from graph.rewriting import rewritten
from graph.state import AgentState, Update
from tenancy.document import Passage
from tenancy.errors import require_own
from tenancy.usage import Meter

PASSAGES = 5  # more add cost faster than answers


async def retrieve(state: AgentState, turn: Turn, *, passages: Passages, models: Models) -> Update:
    """Passages from this tenant's documents, best first, as the assistant looks them up."""
    setting = turn.tenant.effective.search
    limit = PASSAGES if setting.limit is None else setting.limit
    if limit == 0:
        return {"passages": [], **_searched_for(state, None)}
    query = await rewritten(turn, state["messages"], models) if setting.rewrite else None
    question = query or question_of(state["messages"])
    found = await _found(turn, passages, question, candidates(limit) if setting.rerank else limit)
    if setting.rerank:
        found = await reranked(turn, question, found, models) or found
    return {"passages": numbered(found[:limit], after=[]), **_searched_for(state, query)}


async def _found(turn: Turn, passages: Passages, question: str, limit: int) -> Sequence[Passage]:
    tenant_id, within = turn.principal.tenant_id, turn.tenant.effective.search.within
    found = await passages.search(tenant_id, question, limit, within)
    require_own(tenant_id, (passage.tenant_id for passage in found.passages), "retrieval")
    turn.used(Meter.EMBEDDING_TOKENS, found.embedding_tokens, found.embedding_model, "retrieve")
    return found.passages


def _searched_for(state: AgentState, query: str | None) -> Update:
    """Nothing where there is nothing to say and no word of the turn before to take back."""
    return {"searched_for": query or ""} if query or state.get("searched_for") else {}
