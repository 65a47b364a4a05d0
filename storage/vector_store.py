"""The passages of one tenant as a LangChain vector store, for users' own chains; reading only.

The one exception to the single door of `storage/postgres.py`: langchain-postgres brings the engine
of SQLAlchemy. It keeps the same rules: a transaction's first statement sets its tenant, and without
a tenant there is no transaction.
"""

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Never, Self
from uuid import UUID

import psycopg
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres.v2.async_vectorstore import AsyncPGVectorStore
from langchain_postgres.v2.engine import PGEngine
from langchain_postgres.v2.hybrid_search_config import HybridSearchConfig
from sqlalchemy import Connection, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import override

from storage.passage_filter import Filter, parse_filter
from storage.postgres import ACQUIRE_SECONDS, AWAY
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.errors import Unavailable
from tenancy.ids import TenantId, parse_tenant_id

Opening = asyncio.Task[psycopg.AsyncConnection[Any]]

ENGINE_SIZE = 4  # beside the pool of the turns, which is four times that
_ENTER = query("enter").sql.decode()


def tenant_engine(database: AppDatabase, *, size: int = ENGINE_SIZE) -> AsyncEngine:
    """An engine for `TenantPGVectorStore.for_tenant`; by itself it refuses to begin anything.

    Nothing is opened yet; dispose of it in the loop that used it.
    """
    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=_Connector(database.url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=ACQUIRE_SECONDS,
        pool_pre_ping=True,
        hide_parameters=True,  # errors are logged; questions are not
        execution_options={"database": database},
    )
    event.listen(engine.sync_engine, "begin", _enter)
    return engine


class _Connector:
    """Opens connections to the end: one given up half-way would wait a minute for its password."""

    def __init__(self, app_url: str) -> None:
        self._app_url = app_url
        self._opening: set[Opening] = set()  # the loop alone would not keep them

    async def __call__(self) -> psycopg.AsyncConnection[Any]:
        opening: Opening = asyncio.create_task(self._open())
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            self._app_url,
            connect_timeout=2,
            options="-c search_path=tenantry,public -c statement_timeout=30s"
            " -c plan_cache_mode=force_custom_plan",  # one tenant's plan is not another's
        )


def _close(opening: Opening) -> None:
    """Close what nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().pgconn.finish()


def _enter(conn: Connection) -> None:
    try:
        database: AppDatabase = conn.get_execution_options()["database"]
        conn.exec_driver_sql(_ENTER, database.entry(_tenant_of(conn)))
    except BaseException:
        conn.close()  # SQLAlchemy would run the next statement without asking here again
        raise


def _tenant_of(conn: Connection) -> TenantId:
    tenant_id = conn.get_execution_options().get("tenant_id")
    if not tenant_id:
        raise RuntimeError("No tenant: use the engine through TenantPGVectorStore.for_tenant().")
    return TenantId(tenant_id)


def _read_only(*_: object, **__: object) -> Never:
    raise NotImplementedError(
        "TenantPGVectorStore only reads. Documents come and go through `Library` and the documents"
        " API, which know their content hashes, quota and usage."
    )


def _made_otherwise(*_: object, **__: object) -> Never:
    raise NotImplementedError("TenantPGVectorStore.for_tenant() makes the store of one tenant.")


def _is_async(*_: object, **__: object) -> Never:
    raise NotImplementedError("TenantPGVectorStore is asynchronous: await the method's `a…` twin.")


class TenantPGVectorStore(AsyncPGVectorStore):
    """A tenant's passages of one embedding model; made by `for_tenant`, and only by it.

    A passage is a `Document` with its passage id, and `document_id` and `ordinal` as metadata.
    Filters may name these two. Raises `ValueError` for any other filter, and `Unavailable` when
    Postgres is away.
    """

    _scope: tuple[Filter, ...]

    @classmethod
    async def for_tenant(
        cls,
        engine: AsyncEngine,
        tenant_id: TenantId,
        embeddings: Embeddings,
        *,
        embedding_model: str,
        hybrid_search_config: HybridSearchConfig | None = None,
        k: int = 4,
    ) -> Self:
        """The store of `tenant_id` on an engine made by `tenant_engine`; it holds no connection.

        `embeddings` is the model that the documents were stored with as `embedding_model`.
        """
        _refuse_foreign(engine, embeddings)
        bound = engine.execution_options(tenant_id=parse_tenant_id(tenant_id))
        with _translated():
            store = await super().create(
                PGEngine.from_engine(bound),
                embeddings,
                "passages",
                schema_name="tenantry",
                id_column="passage_id",
                content_column="body",
                metadata_columns=["document_id", "ordinal"],
                metadata_json_column=None,
                hybrid_search_config=_copied(hybrid_search_config),
                k=k,
            )
        if not isinstance(store, cls):
            raise TypeError(f"langchain-postgres made a {type(store).__name__}")
        store._scope = ({"tenant_id": tenant_id}, {"embedding_model": embedding_model})
        return store

    async def asimilarity_search(
        self, query: str, k: int | None = None, filter: Filter | None = None, **kwargs: Any
    ) -> list[Document]:
        """The nearest passages, nearest first."""
        return await super().asimilarity_search(query, k, filter, **self._with_own_hybrid(kwargs))

    async def asimilarity_search_with_score(
        self, query: str, k: int | None = None, filter: Filter | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The nearest passages with their cosine distance, or with the fused score of a hybrid."""
        own = self._with_own_hybrid(kwargs)
        return await super().asimilarity_search_with_score(query, k, filter, **own)

    async def asimilarity_search_with_score_by_vector(
        self,
        embedding: list[float],
        k: int | None = None,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The nearest passages with their scores; every search but the marginal ends here."""
        within, own = self._of_vector(embedding, filter), self._with_own_hybrid(kwargs)
        with _translated():
            found = await super().asimilarity_search_with_score_by_vector(
                embedding, k, within, **own
            )
        return [(_plain(document), score) for document, score in found]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Relevance from 0 to 1, by meaning alone: a fused score says where, not how near."""
        kwargs["hybrid_search_config"] = None
        found = await self.asimilarity_search_with_score(query, k, **kwargs)
        return [(document, min(1.0, max(0.0, 1.0 - distance))) for document, distance in found]

    async def amax_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: list[float],
        k: int | None = None,
        fetch_k: int | None = None,
        lambda_mult: float | None = None,
        filter: Filter | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """`k` of the `fetch_k` nearest passages, near to the question and far from each other."""
        with _translated():
            found = await super().amax_marginal_relevance_search_with_score_by_vector(
                embedding,
                k,
                fetch_k or self.fetch_k,  # upstream would fetch no more than a search's k
                sys.float_info.min if lambda_mult == 0 else lambda_mult,  # upstream: 0 is not given
                self._of_vector(embedding, filter),
                **{**kwargs, "hybrid_search_config": None},
            )
        return [(_plain(document), score) for document, score in found]

    async def aget_by_ids(self, ids: Sequence[str]) -> list[Document]:
        """The passages with these ids; an id that is nobody's, or somebody else's, has none."""
        found = await self.aget(ids=ids)
        rows = zip(found["ids"], found["documents"], found["metadatas"], strict=True)
        return [Document(id=id_, page_content=body, metadata=meta) for id_, body, meta in rows]

    @override
    async def aget(
        self,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        limit: int | None = None,
        offset: int | None = None,
        where_document: Filter | None = None,
        include: list[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Passages by id and filter, in no order, as columns: `ids`, and what `include` names."""
        chosen = [] if ids is None else [{"passage_id": {"$in": list(_uuids(ids))}}]
        within = self._within(where, *chosen)
        with _translated():
            found = await super().aget(
                where=within,
                limit=limit,
                offset=offset,
                where_document=where_document,
                include=include,
            )
        if "metadatas" in found:
            found["metadatas"] = [_plain_metadata(each) for each in found["metadatas"]]
        return found

    def _of_vector(self, embedding: Sequence[float], filter: Filter | None) -> Filter:
        return self._within(filter, {"dimensions": len(embedding)})

    def _within(self, filter: Filter | None, *more: Filter) -> Filter:
        """What the policy says, said in the statement too, and the caller's filter within it."""
        asked = () if filter is None or filter == {} else (parse_filter(filter),)
        return {"$and": [*self._scope, *more, *asked]}

    def _with_own_hybrid(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """`kwargs` with a configuration for this call alone: upstream keeps the question in it."""
        config = kwargs.get("hybrid_search_config", self.hybrid_search_config)
        return {**kwargs, "hybrid_search_config": _copied(config)}

    create = _made_otherwise
    from_texts = afrom_texts = from_documents = afrom_documents = _read_only
    add_texts = aadd_texts = add_documents = aadd_documents = aadd_embeddings = _read_only
    delete = adelete = aapply_hybrid_search_index = aapply_vector_index = _read_only
    areindex = adrop_vector_index = is_valid_index = _read_only
    similarity_search = similarity_search_with_score = similarity_search_by_vector = _is_async
    similarity_search_with_score_by_vector = max_marginal_relevance_search = _is_async
    max_marginal_relevance_search_by_vector = get = get_by_ids = _is_async
    max_marginal_relevance_search_with_score_by_vector = _is_async


def _refuse_foreign(engine: AsyncEngine, embeddings: Embeddings) -> None:
    if not event.contains(engine.sync_engine, "begin", _enter):
        raise TypeError("The engine is not from tenant_engine(), or is bound to a tenant already.")
    if hasattr(embeddings, "embed_query_inline_template"):
        raise TypeError("Embeddings that the database itself computes are not supported.")


def _copied(config: HybridSearchConfig | None) -> HybridSearchConfig | None:
    """A copy that shares nothing; what upstream puts into the statement's text is ours."""
    if config is None:
        return None
    return replace(
        config,
        tsv_column="lexemes",
        tsv_lang="pg_catalog.english",
        primary_top_k=int(config.primary_top_k),
        secondary_top_k=int(config.secondary_top_k),
        fusion_function_parameters=dict(config.fusion_function_parameters),
    )


def _uuids(ids: Iterable[object]) -> Iterator[str]:
    """Those that could be a passage's id; nothing else is one."""
    for each in ids:
        try:
            yield str(UUID(str(each)))
        except ValueError:
            continue


def _plain(document: Document) -> Document:
    document.metadata = _plain_metadata(document.metadata)
    return document


def _plain_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Fit for JSON."""
    return {**metadata, "document_id": str(metadata["document_id"])}


@contextmanager
def _translated() -> Iterator[None]:
    """Turns SQLAlchemy's word for an absent database into ours."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable("The database is not reachable.") from error
    except exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled) or not isinstance(error.orig, AWAY):
            raise
        raise Unavailable("The database is not reachable.") from error
