"""A slice of the campaign that measures what a search finds."""

import json
from pathlib import Path

import pytest

from bench import retrieval

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
