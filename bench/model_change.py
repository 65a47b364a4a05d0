"""What a large tenant's searches feel of another embedding model: before, while it changes, after.

    python -m bench.model_change [--passages 60000]

Texts and vectors are those of `bench.search_scale`; nothing is embedded. The switch is measured
with the copies of the new vectors that are searched until the passages have their index, and
searches also as they would be without.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable
from functools import partial

from bench.search_scale import LARGE, MODEL, QUESTION_WORDS, Maker, analyse, fill, tell
from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.indexes import tend_indexes
from storage.next_indexes import index_next, settle_next
from storage.queries import Query
from storage.reembedding import Kind, PostgresReembedding
from storage.word_lists import tend_word_lists
from tests.storage.makers import open_cells
from tests.support.stores import cluster

SEARCHES, NEXT = 60, "next"
COPY = b"""
insert into next_vectors (passage_id, embedding_model, embedding)
select passage_id, 'next', embedding from passages where tenant_id = %(tenant_id)s"""
COPIED = b"update documents set copied = %(copied)s where tenant_id = %(tenant_id)s"


async def search(documents: PostgresDocuments, maker: Maker, label: str, model: str) -> None:
    """Search so often, and print how long it took; the first few warm the caches."""
    found = []
    for _ in range(SEARCHES + 10):
        question, vector = maker.text(QUESTION_WORDS), maker.vectors(1)[0].tolist()
        began = time.perf_counter()
        await documents.search(LARGE, question, vector, embedding_model=model, limit=10)
        found.append(time.perf_counter() - began)
    tell(label, found[10:])


async def timed(label: str, work: Awaitable[object]) -> None:
    """Print how long it takes."""
    began = time.perf_counter()
    await work
    print(f"{label}: {time.perf_counter() - began:.1f} s")


async def run(cells: Cells, statement: bytes, **params: object) -> None:
    """Change the tenant's rows."""
    async with cells.for_tenant(LARGE).as_tenant(LARGE) as conn:
        await conn.execute(Query("of a bench", statement), params)


async def measure(passages: int, stores: Stores) -> None:
    """Fill a database, change the model, and search all the while."""
    maker, urls = Maker(1), (stores.owner(), stores.app)
    async with open_cells(stores) as cells:
        documents = PostgresDocuments(cells)
        await fill(documents, maker, LARGE, passages)
        await asyncio.to_thread(analyse, stores)
        await asyncio.to_thread(tend_indexes, *urls, [LARGE])
        await asyncio.to_thread(tend_word_lists, stores.app, [LARGE])
        await search(documents, maker, f"{passages}, before", MODEL)
        await run(cells, COPY)
        books = PostgresReembedding(cells, Kind.PASSAGES, MODEL, NEXT, partial(index_next, *urls))
        await timed("index of the copies", asyncio.to_thread(index_next, *urls, LARGE))
        await timed("switch", books.switch(LARGE))
        await search(documents, maker, f"{passages}, by the copies", NEXT)
        await run(cells, COPIED, copied=False)
        await search(documents, maker, f"{passages}, without them", NEXT)
        await run(cells, COPIED, copied=True)
        await timed("index of the passages", asyncio.to_thread(tend_indexes, *urls, [LARGE]))
        await timed("settling", asyncio.to_thread(settle_next, *urls, [LARGE]))
        await search(documents, maker, f"{passages}, after", NEXT)


def main() -> None:
    """Print times and percentiles."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=60_000)
    options = parser.parse_args()
    with cluster() as servers, servers.database() as stores:
        asyncio.run(measure(options.passages, stores))


if __name__ == "__main__":
    main()
