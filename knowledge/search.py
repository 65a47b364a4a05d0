"""A question to the passages of one tenant that bear on it."""

from collections.abc import Sequence

from knowledge.neighbours import Excerpt, excerpts
from knowledge.plaintext import clean
from knowledge.ports import Embedder, PassageIndex
from tenancy.document import Found, Passage
from tenancy.errors import require_own
from tenancy.ids import TenantId
from tenancy.search_filter import SearchFilter

_END_CHARACTERS = 500  # MiniLM reads about 1,000; pasted text has its question at either end


class Search:
    """Finds passages by meaning and by word."""

    def __init__(self, embedder: Embedder, index: PassageIndex) -> None:
        self._embedder = embedder
        self._index = index

    async def search(
        self, tenant_id: TenantId, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        """The best `limit` passages of the tenant, best first; none for a blank query.

        Raises `IsolationBreach` when the index answers with another tenant's.
        """
        question = _question(query)
        if not question or limit < 1:
            return Found((), self._embedder.model, 0)
        embedded = await self._embedder.embed([question])
        passages = await self._index.search(
            tenant_id,
            question,
            embedded.vectors[0],
            embedding_model=self._embedder.model,
            limit=limit,
            within=within,
        )
        require_own(tenant_id, (passage.tenant_id for passage in passages), "search")
        return Found(passages, self._embedder.model, embedded.tokens)

    async def surround(
        self, tenant_id: TenantId, passages: Sequence[Passage], distance: int
    ) -> list[Excerpt]:
        """Found passages with so many before and after each; those that touch are one.

        Raises `IsolationBreach` when the index answers with another tenant's.
        """
        ids = [passage.passage_id for passage in passages]
        around = await self._index.neighbours(tenant_id, ids, distance) if ids else []
        require_own(tenant_id, (each.tenant_id for each in around), "search")
        return excerpts(passages, around, distance)


def _question(query: str) -> str:
    text = clean(query).strip()
    if len(text) <= 2 * _END_CHARACTERS:
        return text
    return f"{text[:_END_CHARACTERS]} {text[-_END_CHARACTERS:]}"
