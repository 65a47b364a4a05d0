"""How often a search finds the passages that answer a question, beside what others would find.

    python -m bench.retrieval CORPUS.json [CORPUS.json …] [--neighbours 0]

A corpus is `{"passages": [{"id", "text"}], "questions": [{"text", "relevant": [id, …]}]}`. Each
becomes the one document of a tenant of its own, embedded by MiniLM. `--neighbours` loads so many
other tenants around them, with passages of the same corpora, and searches again: recall must stay,
and what is found must be the same to the byte.
"""

import argparse
import asyncio
import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from langchain_core.embeddings import Embeddings
from langchain_postgres.v2.hybrid_search_config import HybridSearchConfig, reciprocal_rank_fusion

from knowledge.embed import MiniLmEmbedder
from knowledge.embedders import Embedders
from knowledge.search import Search
from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.vector_store import TenantPGVectorStore, tenant_engine
from tenancy.document import Document, DocumentStatus, NewPassage
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tests.storage.makers import open_cells
from tests.support.stores import cluster

K = 10
NEIGHBOUR_PASSAGES = 50
Vectors = Mapping[str, Sequence[float]]
Finds = Callable[[str], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages by id, and questions with the ids of the passages that answer them."""

    name: str
    passages: Mapping[str, str]
    questions: Sequence[tuple[str, frozenset[str]]]

    @property
    def tenant(self) -> TenantId:
        """Whose it is."""
        return TenantId(f"corpus-{hashlib.sha256(self.name.encode()).hexdigest()[:12]}")


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over all questions: the share of relevant passages among the first K, and 1/rank."""

    recall: float
    mrr: float


def read_corpus(path: Path) -> Corpus:
    """The corpus in a file."""
    stored = json.loads(path.read_text())
    passages = {each["id"]: each["text"] for each in stored["passages"] if each["text"].strip()}
    questions = [(each["text"], frozenset(each["relevant"])) for each in stored["questions"]]
    return Corpus(path.stem, passages, questions)


def quality(
    found: Sequence[Sequence[str]], questions: Sequence[tuple[str, frozenset[str]]]
) -> Quality:
    """Of what was found for each question, best first."""
    recalls, ranks = [], []
    for ids, (_, relevant) in zip(found, questions, strict=True):
        hits = [place for place, id_ in enumerate(ids[:K], 1) if id_ in relevant]
        recalls.append(len(set(ids[:K]) & relevant) / len(relevant))
        ranks.append(1 / hits[0] if hits else 0.0)
    return Quality(sum(recalls) / len(recalls), sum(ranks) / len(ranks))


class Memory(Embeddings):
    """What was embedded once, for LangChain."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Not asked for: the store only reads."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return list(self._vectors[text])


async def embedded(embedder: MiniLmEmbedder, texts: Sequence[str]) -> Vectors:
    """The vector of each text."""
    found = await embedder.embed(texts)
    return dict(zip(texts, found.vectors, strict=True))


def document_of(tenant: TenantId) -> DocumentId:
    """The id of a tenant's one document."""
    return DocumentId(uuid5(UUID(int=0), tenant))


async def store(
    documents: PostgresDocuments,
    tenant: TenantId,
    passages: Mapping[str, str],
    vectors: Vectors,
    *,
    model: str,
) -> None:
    """Make the passages one document of the tenant."""
    document = document_of(tenant)
    made = Document(
        document,
        "Corpus",
        "text/plain",
        1,
        hashlib.sha256(document.bytes).digest(),
        len(passages),
        DocumentStatus.READY,
        datetime.now(UTC),
    )
    rows = [
        NewPassage(PassageId(uuid5(document, id_)), ordinal, text, vectors[text])
        for ordinal, (id_, text) in enumerate(passages.items())
    ]
    await documents.add(
        tenant,
        made,
        rows,
        embedding_model=model,
        subject_id=SubjectId("bench"),
        usage=[],
        max_documents=-1,
    )


class NoCorpora:
    """Nobody subscribes to anything."""

    async def subscribed(self, tenant_id: TenantId) -> Sequence[TenantId]:
        """No corpus."""
        return ()


class Trial:
    """One corpus in a database."""

    def __init__(self, corpus: Corpus, cells: Cells, stores: Stores, embedder: MiniLmEmbedder):
        self.corpus = corpus
        self._documents = PostgresDocuments(cells)
        self._search = Search(Embedders(embedder), self._documents, NoCorpora())
        self._stores = stores
        self._embedder = embedder
        document = document_of(corpus.tenant)
        self._ids = {uuid5(document, id_): id_ for id_ in corpus.passages}
        self.vectors: Vectors = {}

    async def load(self) -> None:
        """Embed and store all passages, and embed the questions."""
        passages = await embedded(self._embedder, [*self.corpus.passages.values()])
        questions = await embedded(self._embedder, [text for text, _ in self.corpus.questions])
        self.vectors = {**passages, **questions}
        model = self._embedder.model
        await store(
            self._documents, self.corpus.tenant, self.corpus.passages, passages, model=model
        )

    async def ours(self, question: str) -> Sequence[str]:
        """As `POST /v1/search` finds them."""
        found = await self._search.search(self.corpus.tenant, question, K)
        return [self._ids[passage.passage_id] for passage in found.passages]

    async def all_of(self, finds: Finds) -> list[Sequence[str]]:
        """What is found for every question."""
        return [await finds(text) for text, _ in self.corpus.questions]

    async def others(self) -> dict[str, list[Sequence[str]]]:
        """What vectors alone find, and langchain-postgres' hybrid search, each as it comes."""
        engine = tenant_engine(self._stores.app)
        model = self._embedder.model
        try:
            store = await TenantPGVectorStore.for_tenant(
                engine, self.corpus.tenant, Memory(self.vectors), embedding_model=model
            )

            async def near(question: str) -> Sequence[str]:
                return self._named(await store.asimilarity_search(question, k=K))

            async def hybrid(question: str) -> Sequence[str]:
                config = HybridSearchConfig(
                    fusion_function=reciprocal_rank_fusion,
                    primary_top_k=50,
                    secondary_top_k=50,
                    fusion_function_parameters={"fetch_top_k": K},
                )
                found = await store.asimilarity_search(question, k=K, hybrid_search_config=config)
                return self._named(found)

            return {"vectors": await self.all_of(near), "langchain": await self.all_of(hybrid)}
        finally:
            await engine.dispose()

    def _named(self, found: Sequence[Any]) -> list[str]:
        return [self._ids[UUID(each.id)] for each in found]


async def surround(cells: Cells, trials: Sequence[Trial], tenants: int, model: str) -> None:
    """Load other tenants, with passages of the same corpora."""
    dice, documents = random.Random(1), PostgresDocuments(cells)  # noqa: S311
    pool = [(text, trial.vectors) for trial in trials for text in trial.corpus.passages.values()]
    for number in range(tenants):
        chosen = dice.sample(pool, min(NEIGHBOUR_PASSAGES, len(pool)))
        vectors = {text: known[text] for text, known in chosen}
        passages = {str(place): text for place, text in enumerate(vectors)}
        tenant = TenantId(f"neighbour-{number}")
        await store(documents, tenant, passages, vectors, model=model)


async def measure(paths: Sequence[Path], neighbours: int) -> bool:
    """Print what each way finds; whether neighbours change nothing."""
    embedder, same = MiniLmEmbedder(), True
    with cluster() as servers, servers.database() as stores:
        async with open_cells(stores) as cells:
            trials = [Trial(read_corpus(path), cells, stores, embedder) for path in paths]
            alone = []
            for trial in trials:
                await trial.load()
                found = await trial.all_of(trial.ours)
                alone.append(found)
                _tell(trial.corpus, {"tenantry": found, **await trial.others()})
            if neighbours:
                await surround(cells, trials, neighbours, embedder.model)
                for trial, before in zip(trials, alone, strict=True):
                    after = await trial.all_of(trial.ours)
                    same = same and after == before
                    _tell(trial.corpus, {f"among {neighbours}": after})
    await embedder.aclose()
    return same


def _tell(corpus: Corpus, found: Mapping[str, Sequence[Sequence[str]]]) -> None:
    for way, ids in found.items():
        is_ = quality(ids, corpus.questions)
        print(
            f"{corpus.name:10} {way:12} recall@{K} {is_.recall:.3f}  MRR {is_.mrr:.3f}"
            f"  ({len(corpus.passages)} passages, {len(corpus.questions)} questions)"
        )


def main() -> None:
    """Print the table; exit with 1 when neighbours change what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--neighbours", type=int, default=0)
    options = parser.parse_args()
    raise SystemExit(not asyncio.run(measure(options.corpora, options.neighbours)))


if __name__ == "__main__":
    main()
