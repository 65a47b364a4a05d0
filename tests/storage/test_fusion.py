"""Hits are fused in two places: by Postgres for one tenant, by us for a tenant and its corpora."""

from uuid import uuid4

import pytest

from knowledge.embedders import Embedders
from knowledge.fusion import fused
from knowledge.ingest import Library
from storage.cells import Cells
from storage.documents import PostgresDocuments
from tenancy.document import Upload
from tenancy.ids import SubjectId, TenantId
from tests.storage.word_counts import WordCounts

SHELVES = ("tea and salt", "salt", "rice, wine, wine", "tea, tea, rice", "nothing", "wine and tea")


async def test_one_search_is_fused_as_postgres_fuses_it(cells: Cells) -> None:
    tenant, model = TenantId(f"t-{uuid4().hex[:8]}"), WordCounts("m")
    documents = PostgresDocuments(cells)
    library = Library(Embedders(model), documents)
    for text in SHELVES:
        upload = Upload("a.txt", text.encode(), None, None)
        await library.add(tenant, SubjectId("alice"), upload, max_documents=-1)
    question = "wine and tea"
    [vector] = (await model.embed([question])).vectors
    found = await documents.search(tenant, question, vector, embedding_model="m", limit=50)
    again = fused([found], 50)
    assert len({passage.score for passage in found}) > 3
    assert [p.passage_id for p in again] == [p.passage_id for p in found]
    assert [p.score for p in again] == pytest.approx([p.score for p in found])
