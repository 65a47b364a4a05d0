"""Found passages and what stands around them."""

from uuid import UUID, uuid5

import pytest

from knowledge.neighbours import excerpts
from tenancy.document import Neighbour, Passage
from tenancy.ids import DocumentId, PassageId, TenantId

DOCUMENT, OTHER = DocumentId(UUID(int=1)), DocumentId(UUID(int=2))


def id_of(ordinal: int, document: DocumentId = DOCUMENT) -> PassageId:
    return PassageId(uuid5(document, str(ordinal)))


def hits(*ordinals: int, document: DocumentId = DOCUMENT) -> list[Passage]:
    """The first is the best."""
    return [
        Passage(TenantId("acme"), id_of(n, document), document, "t", f"p{n}", 1 / place, ordinal=n)
        for place, n in enumerate(ordinals, 1)
    ]


def document(passages: int = 20, of: DocumentId = DOCUMENT) -> list[Neighbour]:
    return [Neighbour(TenantId("acme"), of, id_of(n, of), n, f"p{n}") for n in range(passages)]


@pytest.mark.parametrize(
    ("ordinals", "distance", "expected"),
    [
        ([5], 1, ["p4 p5 p6"]),
        ([0], 2, ["p0 p1 p2"]),
        ([19], 3, ["p16 p17 p18 p19"]),
        ([5, 9], 1, ["p4 p5 p6", "p8 p9 p10"]),
        ([8, 5], 1, ["p4 p5 p6 p7 p8 p9"]),  # they touch
        ([5, 6], 1, ["p4 p5 p6 p7"]),
        ([5, 11, 8], 1, ["p4 p5 p6 p7 p8 p9 p10 p11 p12"]),  # the last joins the first two
        ([15, 2, 16], 1, ["p14 p15 p16 p17", "p1 p2 p3"]),
    ],
)
def test_excerpts_that_touch_are_one(
    ordinals: list[int], distance: int, expected: list[str]
) -> None:
    made = excerpts(hits(*ordinals), document(), distance)
    assert [each.text.replace("\n\n", " ") for each in made] == expected


def test_an_excerpt_is_its_best_passages_and_names_all_that_were_found() -> None:
    [made] = excerpts(hits(8, 5), document(), 1)
    assert made.passage.ordinal == 8
    assert made.passage_ids == [id_of(5), id_of(8)]


def test_passages_of_two_documents_never_touch() -> None:
    found = [*hits(5), *hits(6, document=OTHER)]
    made = excerpts(found, [*document(), *document(of=OTHER)], 3)
    assert [each.passage.document_id for each in made] == [DOCUMENT, OTHER]


def test_a_passage_that_is_gone_meanwhile_is_told_as_it_was_found() -> None:
    [made] = excerpts(hits(5), [], 1)
    assert (made.text, made.passage_ids) == ("p5", [])
