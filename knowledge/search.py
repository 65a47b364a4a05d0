"""A question to the passages of one tenant that bear on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import structlog

from knowledge.embedders import Embedders
from knowledge.fusion import fused
from knowledge.neighbours import Excerpt, excerpts
from knowledge.plaintext import clean
from knowledge.ports import Corpora, PassageIndex
from tenancy.document import Found, Neighbour, Passage
from tenancy.errors import Unavailable, require_own
from tenancy.ids import PassageId, TenantId
from tenancy.search_filter import SearchFilter

log = structlog.get_logger()

_END_CHARACTERS = 500  # MiniLM reads about 1,000; pasted text has its question at either end


class Search:
    """Finds passages by meaning and by word: a tenant's own, and of corpora it subscribes to."""

    def __init__(self, embedders: Embedders, index: PassageIndex, corpora: Corpora) -> None:
        self._embedders = embedders
        self._index = index
        self._corpora = corpora

    async def search(
        self, tenant_id: TenantId, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        """The best `limit` passages for the tenant, best first; none for a blank query.

        Raises `IsolationBreach` when the index answers with another tenant's. A corpus whose
        database is away is left out.
        """
        question = _question(query)
        if not question or limit < 1:
            return Found((), self._embedders.current.model, 0)
        asked = _Asked(self._embedders, question, limit, within)
        own_model = await asked.embed_for(tenant_id)
        corpora = await self._corpora.subscribed(tenant_id)
        own, *lent = await asyncio.gather(
            self._passages_of(tenant_id, asked),
            *(self._lent(tenant_id, each, asked) for each in corpora),
        )
        passages = fused([own, *lent], limit) if any(lent) else own
        return Found(passages, own_model, asked.tokens)

    async def surround(
        self, tenant_id: TenantId, passages: Sequence[Passage], distance: int
    ) -> list[Excerpt]:
        """Found passages with so many before and after each; those that touch are one.

        Raises `IsolationBreach` when the index answers with another tenant's.
        """
        ids: dict[TenantId, list[PassageId]] = {}
        for passage in passages:
            ids.setdefault(passage.corpus_id or tenant_id, []).append(passage.passage_id)
        around: list[Neighbour] = []
        for of, each in ids.items():
            found = await self._index.neighbours(of, each, distance)
            require_own(of, (neighbour.tenant_id for neighbour in found), "search")
            around += found
        return excerpts(passages, around, distance)

    async def _passages_of(self, tenant_id: TenantId, asked: "_Asked") -> Sequence[Passage]:
        model = await asked.embed_for(tenant_id)
        passages = await self._index.search(
            tenant_id,
            asked.question,
            asked.vectors[model],
            embedding_model=model,
            limit=asked.limit,
            within=asked.within,
        )
        require_own(tenant_id, (passage.tenant_id for passage in passages), "search")
        return passages

    async def _lent(
        self, tenant_id: TenantId, corpus_id: TenantId, asked: "_Asked"
    ) -> Sequence[Passage]:
        """Passages of a corpus, as found for a tenant that subscribes to it."""
        try:
            found = await self._passages_of(corpus_id, asked)
        except Unavailable:
            log.warning("corpus_unavailable", corpus_id=corpus_id)
            return ()
        return [replace(each, tenant_id=tenant_id, corpus_id=corpus_id) for each in found]


@dataclass(slots=True)
class _Asked:
    """A question, and its vector by each model that has been needed so far."""

    embedders: Embedders
    question: str
    limit: int
    within: SearchFilter | None
    vectors: dict[str, Sequence[float]] = field(default_factory=dict)
    tokens: int = 0

    async def embed_for(self, tenant_id: TenantId) -> str:
        """The model of a tenant's passages; from now on the question has its vector."""
        embedder = await self.embedders.of(tenant_id)
        if embedder.model not in self.vectors:
            embedded = await embedder.embed([self.question])
            self.vectors[embedder.model] = embedded.vectors[0]
            self.tokens += embedded.tokens
        return embedder.model


def _question(query: str) -> str:
    text = clean(query).strip()
    if len(text) <= 2 * _END_CHARACTERS:
        return text
    return f"{text[:_END_CHARACTERS]} {text[-_END_CHARACTERS:]}"
