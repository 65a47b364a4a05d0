"""Passages under the numbers by which an answer cites them."""

from collections.abc import Sequence

from graph.state import NumberedPassage
from tenancy.document import Passage


def numbered(
    found: Sequence[Passage], *, after: Sequence[NumberedPassage]
) -> list[NumberedPassage]:
    """`found` numbered on from `after`, without those that `after` has already."""
    known = {passage["passage_id"] for passage in after}
    fresh = [passage for passage in found if str(passage.passage_id) not in known]
    return [_numbered(n, passage) for n, passage in enumerate(fresh, start=len(after) + 1)]


def _numbered(n: int, passage: Passage) -> NumberedPassage:
    made = NumberedPassage(
        n=n,
        document_id=str(passage.document_id),
        passage_id=str(passage.passage_id),
        title=passage.title,
        text=passage.text,
    )
    if passage.corpus_id:
        made["corpus_id"] = passage.corpus_id
    return made
