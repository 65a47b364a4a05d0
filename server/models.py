"""The chat models and embeddings of this deployment, by the settings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from langchain_core.language_models import BaseChatModel

from graph.offline_model import OfflineChatModel
from knowledge.embed import MiniLmEmbedder
from knowledge.ports import Embedder
from server.model_endpoint import ModelEndpoint
from server.settings import DEFAULT_BASE_URL, OFFLINE_EMBEDDINGS, OFFLINE_MODEL, Settings
from tenancy.errors import Misconfigured, ModelFailed

Vectors = Sequence[Sequence[float]]


class DeploymentModels:
    """Implements the port `Models`: one endpoint, or the offline model where there is none.

    MiniLM is there only where the settings need it: an image may leave it out.
    """

    def __init__(self, settings: Settings) -> None:
        self.default = settings.chat_model
        self._endpoint = _endpoint(settings)
        offline = settings.embedding_model == OFFLINE_EMBEDDINGS or not settings.has_endpoint
        self._minilm = MiniLmEmbedder() if offline else None
        self._offline = OfflineChatModel(embed=_vectors_of(self._minilm)) if self._minilm else None
        self.embedder = self._embedder(settings.embedding_model)

    def get(self, name: str) -> BaseChatModel:
        """The model called `name`; raises `ModelFailed` where it cannot be had."""
        if self._endpoint is not None and name != OFFLINE_MODEL:
            return self._endpoint.chat_model(name)
        if self._offline is None:
            raise ModelFailed(f"The model {OFFLINE_MODEL} is not served here.")
        return self._offline

    def _embedder(self, name: str) -> Embedder:
        if name == OFFLINE_EMBEDDINGS and self._minilm is not None:
            return self._minilm
        if self._endpoint is None:
            raise Misconfigured("TENANTRY_EMBEDDING_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL.")
        return self._endpoint.embedder(name)

    async def load(self) -> None:
        """Read the weights now, so that the first question does not wait for them."""
        if self._minilm is not None:
            await asyncio.to_thread(self._minilm.load)

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._minilm is not None:
            await self._minilm.aclose()
        if self._endpoint is not None:
            await self._endpoint.aclose()


def _vectors_of(embedder: Embedder) -> Callable[[Sequence[str]], Awaitable[Vectors]]:
    async def vectors(texts: Sequence[str]) -> Vectors:
        return (await embedder.embed(texts)).vectors

    return vectors


def _endpoint(settings: Settings) -> ModelEndpoint | None:
    if not settings.has_endpoint:
        return None
    key = settings.openai_api_key
    return ModelEndpoint(
        settings.openai_base_url or DEFAULT_BASE_URL,
        # servers of one's own often want no key; the client insists on sending one
        key.get_secret_value() if key is not None else "none",
        timeout_seconds=settings.model_timeout,
    )
