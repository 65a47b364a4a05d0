"""The demo's documents answer the demo's questions, each tenant its own way."""

import csv
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from knowledge.embed import MiniLmEmbedder
from knowledge.parse import parse
from knowledge.split import split

DEMO = Path(__file__).parents[3] / "server" / "demo"
QUESTIONS = {
    "How many days do I have to return something?": ("returns.md", "return-policy.md"),
    "What does the standing desk cost?": ("catalogue.html", "products.html"),
    "How much is standard shipping and how long does it take?": ("shipping.md", "delivery.md"),
    "How long is the warranty on a chair?": ("warranty.md", "guarantee.md"),
    "When can I call customer support?": ("support.txt", "contact.txt"),
    "Is the store open on Sundays?": ("opening-hours.txt", "store-hours.txt"),
    "When is an invoice due and what happens if I pay late?": (
        "payment-terms.pdf",
        "terms-of-payment.pdf",
    ),
    "Do you match a cheaper price of a competitor?": ("price-match.md", "pricing-policy.md"),
    "Does the loyalty programme cost anything?": ("loyalty.md", "globex-circle.md"),
    "Are the stores open on Thanksgiving?": ("holiday-calendar.pdf", "holiday-schedule.pdf"),
    "Can I work from home as an employee?": ("careers.pdf", "jobs.pdf"),
    "Are you carbon neutral?": ("sustainability.md", "environment.md"),
}
CASES = [
    (tenant, question, files[side])
    for side, tenant in enumerate(("acme", "globex"))
    for question, files in QUESTIONS.items()
]


@dataclass(frozen=True, slots=True)
class Shelf:
    """One tenant's passages, the files they are from and their vectors."""

    files: list[str]
    vectors: np.ndarray


def documents(tenant: str) -> list[Path]:
    return sorted(path for path in (DEMO / tenant).iterdir() if path.suffix != ".csv")


def passages(path: Path) -> list[str]:
    parsed = parse(path.name, path.read_bytes())
    return [piece.text for piece in split(parsed.text, parsed.media_type, pages=parsed.pages)]


@pytest_asyncio.fixture(scope="module")
async def embedder() -> AsyncIterator[MiniLmEmbedder]:
    embedder = MiniLmEmbedder()
    yield embedder
    await embedder.aclose()


@pytest_asyncio.fixture(scope="module")
async def shelves(embedder: MiniLmEmbedder) -> dict[str, Shelf]:
    return {tenant: await _shelf(embedder, tenant) for tenant in ("acme", "globex")}


async def _shelf(embedder: MiniLmEmbedder, tenant: str) -> Shelf:
    found = [(path.name, text) for path in documents(tenant) for text in passages(path)]
    embedded = await embedder.embed([text for _, text in found])
    return Shelf([name for name, _ in found], np.array(embedded.vectors))


@pytest.mark.parametrize(("tenant", "question", "file"), CASES)
async def test_the_right_document_is_among_the_first_three(
    embedder: MiniLmEmbedder, shelves: dict[str, Shelf], tenant: str, question: str, file: str
) -> None:
    shelf = shelves[tenant]
    embedded = await embedder.embed([question])
    order = np.argsort(-(shelf.vectors @ np.array(embedded.vectors[0])))
    assert file in list(dict.fromkeys(shelf.files[i] for i in order))[:3]


@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_a_tenant_has_a_dozen_documents_of_every_kind_within_the_free_plan(tenant: str) -> None:
    kinds = {path.suffix for path in documents(tenant)}
    assert kinds == {".md", ".txt", ".html", ".pdf"}
    assert 12 <= len(documents(tenant)) <= 50


@pytest.mark.parametrize(("tenant", "rival"), [("acme", "Globex"), ("globex", "Acme")])
def test_no_document_speaks_for_the_rival(tenant: str, rival: str) -> None:
    speaking = [
        path.name
        for path in documents(tenant)
        if rival in parse(path.name, path.read_bytes()).text and path.name != "price-match.md"
    ]
    assert speaking == []


def test_the_same_order_numbers_mean_different_orders() -> None:
    acme, globex = (_orders(tenant) for tenant in ("acme", "globex"))
    assert acme.keys() == globex.keys()
    assert all(acme[number] != globex[number] for number in acme)


def _orders(tenant: str) -> dict[str, tuple[str, ...]]:
    with (DEMO / tenant / "orders.csv").open(newline="", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        assert rows.fieldnames == ["order_id", "customer", "item", "status", "expected_delivery"]
        return {row.pop("order_id"): tuple(row.values()) for row in rows}
