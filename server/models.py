"""The chat models and embeddings of this deployment, by the settings."""

from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel

from graph.offline_model import OfflineChatModel
from knowledge.embed import MiniLmEmbedder
from knowledge.ports import Embedder
from server.model_endpoint import ModelEndpoint
from server.settings import DEFAULT_BASE_URL, OFFLINE_EMBEDDINGS, OFFLINE_MODEL, Settings
from tenancy.errors import Misconfigured


class DeploymentModels:
    """Implements the port `Models`: one endpoint, or the offline model where there is none."""

    def __init__(self, settings: Settings) -> None:
        self.default = settings.chat_model
        self._endpoint = _endpoint(settings)
        self._minilm = MiniLmEmbedder()
        self._offline = OfflineChatModel(embed=self._vectors)
        self.embedder = self._embedder(settings.embedding_model)

    def get(self, name: str) -> BaseChatModel:
        """The model called `name`."""
        if name == OFFLINE_MODEL or self._endpoint is None:
            return self._offline
        return self._endpoint.chat_model(name)

    async def _vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return (await self._minilm.embed(texts)).vectors

    def _embedder(self, name: str) -> Embedder:
        if name == OFFLINE_EMBEDDINGS:
            return self._minilm
        if self._endpoint is None:
            raise Misconfigured("TENANTRY_EMBEDDING_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL.")
        return self._endpoint.embedder(name)

    async def aclose(self) -> None:
        """Close what was opened."""
        await self._minilm.aclose()
        if self._endpoint is not None:
            await self._endpoint.aclose()


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
