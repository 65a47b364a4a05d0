"""An OpenAI-compatible model endpoint: chat models and embedders that share its connections."""

from functools import lru_cache

from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from knowledge.ports import Embedder
from server.openai_wire.completions import FastCompletions
from server.openai_wire.embeddings import EndpointEmbedder
from server.openai_wire.failures import translate, translating
from server.openai_wire.transport import Transport
from server.openai_wire.watch import UNWATCHED, Watch

__all__ = ["DEFAULT_BASE_URL", "ModelEndpoint", "translate", "translating"]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
KEPT_MODELS = 64  # tenants name models: what they name must not fill the memory
NO_KEY = "none"  # ChatOpenAI insists on one; the transport sends none


class ModelEndpoint:
    """Models behind one URL. Their failures are `ModelFailed` and `ModelTimeout`.

    `timeout_seconds` bounds a whole answer, or each silence within a streamed one. A refused
    connection, a 429 and a 5xx are tried once more within it; silence never is. `watch` is told
    of each of them, and of each answer.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        timeout_seconds: float,
        retries: int = 1,
        coalesce: bool = True,
        watch: Watch = UNWATCHED,
    ) -> None:
        self._base_url = base_url
        self._api_key = SecretStr(api_key or NO_KEY)
        self._timeout_seconds = timeout_seconds
        self._coalesce = coalesce
        self._transport = Transport(
            base_url, api_key, timeout_seconds=timeout_seconds, retries=retries, watch=watch
        )
        self._chat_model = lru_cache(KEPT_MODELS)(self._build)

    def chat_model(self, name: str, *, max_output_tokens: int | None = None) -> BaseChatModel:
        """The model `name`, built once. `max_tokens=` in a call overrides `max_output_tokens`.

        A `response_format` goes through the SDK: run it inside `translating()`.
        """
        return self._chat_model(name, max_output_tokens)

    def embedder(self, model: str) -> Embedder:
        """The embedding model `model`."""
        return EndpointEmbedder(self._transport, model)

    async def aclose(self) -> None:
        """Close the connections; whatever is asked later fails."""
        await self._transport.aclose()

    def _build(self, name: str, max_output_tokens: int | None) -> ChatOpenAI:
        model = ChatOpenAI(
            model=name,
            base_url=self._base_url,
            api_key=self._api_key,
            max_completion_tokens=max_output_tokens,
            timeout=self._timeout_seconds,
            stream_chunk_timeout=None,  # the transport's own costs less
            stream_usage=True,
            max_retries=0,  # what goes through the SDK is bounded by the time-out alone
            use_responses_api=False,
        )
        model.async_client = FastCompletions(
            self._transport, model.async_client, coalesce=self._coalesce
        )
        return model
