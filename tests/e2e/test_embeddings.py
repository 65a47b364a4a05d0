"""A deployment changes its embedding model, from a terminal."""

import asyncio

from tests.support.commands import Terminal
from tests.support.model_server import ModelServer
from tests.support.stores import open_folder


async def test_a_worker_embeds_anew_what_has_the_former_model(model: ModelServer) -> None:
    endpoint = {"OPENAI_BASE_URL": model.base_url, "TENANTRY_MODEL": "scripted"}
    with open_folder() as folder:
        former = {**endpoint, "TENANTRY_EMBEDDING_MODEL": "scripted-embeddings"}
        following = {
            **endpoint,
            "TENANTRY_EMBEDDING_MODEL": "later-embeddings",
            "TENANTRY_FORMER_EMBEDDING_MODEL": "scripted-embeddings",
        }
        (folder / "tea.md").write_text("# Tea\n\nGreen tea costs five.", encoding="utf-8")
        await asyncio.to_thread(_change, Terminal(folder, former), Terminal(folder, following))
    asked = [request["model"] for request in model.embedding_requests]
    assert asked == ["scripted-embeddings", "later-embeddings"]


def _change(before: Terminal, after: Terminal) -> None:
    before.ok("migrate")
    before.ok("tenant", "create", "shop", "--plan", "pro")
    before.ok("documents", "add", "--tenant", "shop", str(before.folder / "tea.md"))
    assert before.json("embeddings") == []
    waiting = {"passages": 1, "done": 0, "memories": 0, "memories_done": 0}
    assert after.json("embeddings") == [{"tenant_id": "shop", **waiting}]
    after.ok("worker", "--once")
    assert after.json("embeddings") == []
