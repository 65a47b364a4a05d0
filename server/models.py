"""The chat models and embeddings of this deployment, by the settings."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from langchain_core.language_models import BaseChatModel

from graph.offline_model import OfflineChatModel
from knowledge.embed import MiniLmEmbedder
from knowledge.ports import Embedder
from server.breakers import Breakers
from server.endpoints import DEFAULT, OFFLINE, EndpointSettings, split_model
from server.model_endpoint import ModelEndpoint
from server.openai_wire.watch import Observed, Pressure, Watch, unheard
from server.settings import DEFAULT_BASE_URL, OFFLINE_EMBEDDINGS, OFFLINE_MODEL, Settings
from tenancy.errors import Misconfigured, ModelFailed

Vectors = Sequence[Sequence[float]]


class DeploymentModels:
    """Implements the port `Models`: those of the endpoints, or the offline model without one.

    MiniLM is there only where the settings need it: an image may leave it out. `pressure` and
    `observed` are told how each endpoint fares, by its name.
    """

    def __init__(
        self, settings: Settings, *, pressure: Pressure = unheard, observed: Observed = unheard
    ) -> None:
        self.default = settings.chat_model
        self.breakers = Breakers()
        self._endpoints = {
            name: _endpoint(settings, where, Watch(name, pressure, observed))
            for name, where in _places(settings).items()
        }
        named = (settings.embedding_model, settings.former_embedding_model)
        offline = OFFLINE_EMBEDDINGS in named or not settings.has_endpoint
        self._minilm = MiniLmEmbedder() if offline else None
        self._offline = OfflineChatModel(embed=_vectors_of(self._minilm)) if self._minilm else None
        self.embedder = self._embedder(settings.embedding_model)
        former = settings.former_embedding_model
        self.former = self._embedder(former) if former not in (None, self.embedder.model) else None

    def get(self, name: str) -> BaseChatModel:
        """The model called `name`; raises `ModelFailed` where it cannot be had."""
        endpoint, model = self._place(name)
        if endpoint != OFFLINE:
            return self._endpoints[endpoint].chat_model(model)
        if self._offline is None:
            raise ModelFailed(f"The model {OFFLINE_MODEL} is not served here.")
        return self._offline

    def endpoint_of(self, name: str) -> str:
        """Where the model `name` is served: `default`, `offline` or the name of a setting."""
        return self._place(name)[0]

    @property
    def endpoint_names(self) -> list[str]:
        """Every answer of `endpoint_of`."""
        return [OFFLINE, *self._endpoints]

    def _place(self, name: str) -> tuple[str, str]:
        if name == OFFLINE_MODEL:
            return OFFLINE, name
        endpoint, model = split_model(name, self._endpoints)
        return (endpoint if endpoint in self._endpoints else OFFLINE), model

    def _embedder(self, name: str) -> Embedder:
        if name == OFFLINE_EMBEDDINGS and self._minilm is not None:
            return self._minilm
        if DEFAULT not in self._endpoints:
            raise Misconfigured("TENANTRY_EMBEDDING_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL.")
        return self._endpoints[DEFAULT].embedder(name)

    async def load(self) -> None:
        """Read the weights now, so that the first question does not wait for them."""
        if self._minilm is not None:
            await asyncio.to_thread(self._minilm.load)

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._minilm is not None:
            await self._minilm.aclose()
        for endpoint in self._endpoints.values():
            await endpoint.aclose()


def _vectors_of(embedder: Embedder) -> Callable[[Sequence[str]], Awaitable[Vectors]]:
    async def vectors(texts: Sequence[str]) -> Vectors:
        return (await embedder.embed(texts)).vectors

    return vectors


def _places(settings: Settings) -> dict[str, EndpointSettings]:
    if not settings.has_endpoint:
        return dict(settings.endpoints)
    url = settings.openai_base_url or DEFAULT_BASE_URL
    default = EndpointSettings(base_url=url, api_key=settings.openai_api_key)
    return {DEFAULT: default, **settings.endpoints}


def _endpoint(settings: Settings, where: EndpointSettings, watch: Watch) -> ModelEndpoint:
    key = where.api_key.get_secret_value() if where.api_key is not None else None
    return ModelEndpoint(where.base_url, key, timeout_seconds=settings.model_timeout, watch=watch)
