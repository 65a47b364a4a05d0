"""Embeddings of a model endpoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from knowledge.ports import Embedded
from server.openai_wire.failures import nonsense
from server.openai_wire.transport import Transport

BATCH = 128  # of 1,536 figures each: parsing and checking them stop the loop for some 17 ms


class EndpointEmbedder:
    """An `Embedder` over the endpoint's transport. Nothing is kept of a batch that fails."""

    def __init__(self, transport: Transport, model: str) -> None:
        self._transport = transport
        self._model = model

    @property
    def model(self) -> str:
        """The endpoint's name of the model."""
        return self._model

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed `texts`, a batch at a time; an empty sequence costs nothing."""
        vectors: list[list[float]] = []
        tokens = 0
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            answer = (await self._transport.post("/embeddings", self._request(batch))).answer
            vectors += _vectors(answer, len(batch))
            tokens += _tokens(answer, batch)
        if len({len(vector) for vector in vectors}) > 1:
            raise nonsense()
        return Embedded(vectors, tokens)

    def _request(self, batch: list[str]) -> dict[str, Any]:
        return {"model": self._model, "input": batch, "encoding_format": "float"}


def _vectors(answer: Any, count: int) -> list[list[float]]:
    found = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise nonsense()
    indices = [item.get("index", position) for position, item in enumerate(found)]
    if any(type(index) is not int for index in indices) or sorted(indices) != [*range(count)]:
        raise nonsense()
    placed = {index: item.get("embedding") for index, item in zip(indices, found, strict=True)}
    vectors = [placed[index] for index in range(count)]
    _require_vectors(vectors)
    return vectors


def _require_vectors(vectors: list[Any]) -> None:
    try:
        matrix = np.array(vectors)
    except ValueError:  # ragged
        raise nonsense() from None
    numbers = matrix.ndim == 2 and matrix.shape[1] > 0 and matrix.dtype.kind in "fiu"
    if not numbers or not np.isfinite(matrix).all():
        raise nonsense()


def _tokens(answer: dict[str, Any], batch: list[str]) -> int:
    usage = answer.get("usage")
    counted = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    if type(counted) is int and counted >= 0:
        return counted
    return -(-sum(len(text.encode("utf-8", "surrogatepass")) for text in batch) // 4)
