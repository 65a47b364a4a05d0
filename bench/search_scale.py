"""How long searches take, and how fast passages are stored, among thousands of tenants.

    python -m bench.search_scale [--tenants 5000] [--passages 250000] [--large 60000]

Of the passages one tenant has `--large`, with an index and word lists of its own; the rest are
spread over the others unevenly, up to a thousand for each. Texts are drawn from a vocabulary by
Zipf's law, vectors around a few hundred topics; nothing is embedded. Every search goes through the
product's own store with row-level security on, one at a time.
"""

import argparse
import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

import numpy as np
import psycopg
from numpy.typing import NDArray

from bench.chatting import percentile
from server.stores import Stores
from storage.documents import PostgresDocuments
from storage.indexes import tend_indexes
from storage.word_lists import tend_word_lists
from tenancy.document import Document, DocumentStatus, NewPassage
from tenancy.ids import DocumentId, PassageId, SubjectId, TenantId
from tests.storage.makers import open_cells
from tests.support.stores import cluster

MODEL, DIMENSION = "bench", 384
WORDS, TOPICS, PASSAGE_WORDS, QUESTION_WORDS = 20_000, 400, 130, 9
SMALL_MOST = 1_000
DOCUMENT_PASSAGES = 500
SEARCHES = 300
LARGEST = 20
LARGE = TenantId("large")
Floats = NDArray[np.float32]


@dataclass(slots=True)
class Sizes:
    """Of one run."""

    tenants: int = 5_000
    passages: int = 250_000
    large: int = 60_000

    def spread(self, dice: np.random.Generator) -> list[int]:
        """How many passages each of the other tenants has: few have many."""
        parts, wanted = dice.pareto(1.2, self.tenants) + 0.1, self.passages - self.large
        sizes = parts
        for _ in range(100):  # what is cut off from the largest goes to all
            parts = parts * wanted / sizes.sum()
            sizes = parts.clip(1, SMALL_MOST)
        return [int(size) for size in sizes.round()]


class Maker:
    """Makes texts and vectors."""

    def __init__(self, seed: int) -> None:
        self.dice = np.random.default_rng(seed)
        self._words = [f"word{number}" for number in range(WORDS)]
        self._odds = 1 / np.arange(1, WORDS + 1)
        self._odds /= self._odds.sum()
        self._topics = self.dice.normal(size=(TOPICS, DIMENSION)).astype(np.float32)

    def text(self, words: int) -> str:
        """So many words."""
        return " ".join(self._words[n] for n in self.dice.choice(WORDS, words, p=self._odds))

    def vectors(self, count: int) -> Floats:
        """Unit vectors, each around a topic."""
        near = self._topics[self.dice.integers(TOPICS, size=count)]
        found = near + self.dice.normal(scale=0.6, size=near.shape).astype(np.float32)
        unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit

    def passages(self, document: DocumentId, count: int) -> list[NewPassage]:
        """Of one document."""
        return [
            NewPassage(PassageId(uuid5(document, str(n))), n, self.text(PASSAGE_WORDS), vector)
            for n, vector in enumerate(self.vectors(count).tolist())
        ]


async def fill(documents: PostgresDocuments, maker: Maker, tenant: TenantId, count: int) -> float:
    """Store so many passages; the seconds that storing took."""
    seconds = 0.0
    for start in range(0, count, DOCUMENT_PASSAGES):
        size, made = min(DOCUMENT_PASSAGES, count - start), DocumentId(uuid4())
        passages = maker.passages(made, size)
        began = time.perf_counter()
        await documents.add(
            tenant,
            _document(made, size),
            passages,
            embedding_model=MODEL,
            subject_id=SubjectId("bench"),
            usage=[],
            max_documents=-1,
        )
        seconds += time.perf_counter() - began
    return seconds


def _document(made: UUID, passages: int) -> Document:
    digest, now = hashlib.sha256(made.bytes).digest(), datetime.now(UTC)
    id_, ready = DocumentId(made), DocumentStatus.READY
    return Document(id_, "Bench", "text/plain", 1, digest, passages, ready, now)


async def times(
    documents: PostgresDocuments, maker: Maker, tenants: Sequence[TenantId]
) -> list[float]:
    """Seconds of searches, each by another of the tenants."""
    found = []
    for number in range(SEARCHES):
        tenant, question = tenants[number % len(tenants)], maker.text(QUESTION_WORDS)
        vector = maker.vectors(1)[0].tolist()
        began = time.perf_counter()
        await documents.search(tenant, question, vector, embedding_model=MODEL, limit=10)
        found.append(time.perf_counter() - began)
    return found


async def measure(sizes: Sizes, stores: Stores) -> None:
    """Fill a database and search in it."""
    maker = Maker(1)
    async with open_cells(stores) as cells:
        documents = PostgresDocuments(cells)
        spread = sizes.spread(maker.dice)
        names = [TenantId(f"small-{number}") for number in range(len(spread))]
        began = time.perf_counter()
        stored = 0.0
        for tenant, count in zip(names, spread, strict=True):
            stored += await fill(documents, maker, tenant, count)
        print(f"{sum(spread)} passages of {len(names)} tenants: {sum(spread) / stored:,.0f}/s")
        stored = await fill(documents, maker, LARGE, sizes.large)
        print(f"{sizes.large} passages of one: {sizes.large / stored:,.0f}/s", end="")
        print(f"; all in {time.perf_counter() - began:.0f} s")
        await asyncio.to_thread(analyse, stores)
        largest = sorted(zip(spread, names, strict=True), reverse=True)[:LARGEST]
        crowd = [name for _, name in largest]
        await times(documents, maker, crowd)
        tell(f"{largest[-1][0]} to {largest[0][0]}", await times(documents, maker, crowd))
        tell(f"1 to {largest[0][0]}", await times(documents, maker, names))
        tell(f"{sizes.large}, not promoted", await times(documents, maker, [LARGE]))
        await asyncio.to_thread(tend_indexes, stores.owner(), stores.app, [LARGE])
        await asyncio.to_thread(tend_word_lists, stores.app, [LARGE])
        await times(documents, maker, [LARGE])
        tell(f"{sizes.large}, promoted", await times(documents, maker, [LARGE]))


def analyse(stores: Stores) -> None:
    """As autovacuum would."""
    with psycopg.connect(stores.owner(), autocommit=True) as conn:
        conn.execute("analyze tenantry.passages, tenantry.documents")


def tell(whose: str, seconds: Sequence[float]) -> None:
    """Print percentiles."""
    p50, p95 = (percentile(seconds, share) * 1000 for share in (0.5, 0.95))
    print(f"search, {whose:24} passages: p50 {p50:6.1f} ms  p95 {p95:6.1f} ms")


def main() -> None:
    """Print rates and percentiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tenants", "passages", "large"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Sizes(), name))
    options = parser.parse_args()
    with cluster() as servers, servers.database() as stores:
        asyncio.run(measure(Sizes(**vars(options)), stores))


if __name__ == "__main__":
    main()
