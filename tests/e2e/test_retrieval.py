"""Slices of the campaigns that measure what a search finds, and how fast."""

import json
from pathlib import Path

import pytest

from bench import retrieval, search_scale
from server.stores import Stores

FACTS = {
    "returns": "A desk may be returned within thirty days of its delivery.",
    "warranty": "The warranty of every chair is five years.",
    "code": "def apply_discount(order): return order.total * 0.9",
    "hours": "The shop is open from nine to five, and closed on Sundays.",
}
QUESTIONS = {
    "How long may I send a desk back?": "returns",
    "Is a chair repaired after four years?": "warranty",
    "Which function takes a discount off an order?": "code",
    "Can I come on a Sunday?": "hours",
}


async def test_neighbours_change_nothing_that_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "shop.json"
    corpus.write_text(
        json.dumps(
            {
                "passages": [{"id": id_, "text": text} for id_, text in FACTS.items()],
                "questions": [{"text": q, "relevant": [id_]} for q, id_ in QUESTIONS.items()],
            }
        )
    )
    assert await retrieval.measure([corpus], neighbours=3)
    ways = ("tenantry", "vectors", "langchain", "among 3")
    told = capsys.readouterr().out.splitlines()
    assert [line.split("recall")[0].split(maxsplit=1)[1].strip() for line in told] == [*ways]
    assert "recall@10 1.000" in told[0]


async def test_searches_are_timed_at_every_size(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_scale, "SEARCHES", 4)
    sizes = search_scale.Sizes(tenants=3, passages=60, large=30)
    await search_scale.measure(sizes, stores)
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in told[2:]] == ["search"] * 4
