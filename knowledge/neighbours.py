"""Found passages with what stands before and after them in their documents."""

from collections.abc import Sequence
from dataclasses import dataclass

from tenancy.document import Neighbour, Passage
from tenancy.ids import PassageId


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A found passage, and the text around it; other found passages in that text are named."""

    passage: Passage
    passage_ids: Sequence[PassageId]
    text: str


def excerpts(
    passages: Sequence[Passage], neighbours: Sequence[Neighbour], distance: int
) -> list[Excerpt]:
    """An excerpt for each passage, best first; those that touch are one, in the place of the best.

    `neighbours` are what stands at most `distance` from the passages, with those.
    """
    groups: list[list[Passage]] = []
    for passage in passages:
        touching = [group for group in groups if _touch(group, passage, distance)]
        if not touching:
            groups.append([passage])
            continue
        first, *others = touching
        first.append(passage)
        for other in others:  # the passage is what was missing between the two
            first.extend(other)
            groups.remove(other)
    return [_excerpt(group, neighbours, distance) for group in groups]


def _touch(group: Sequence[Passage], passage: Passage, distance: int) -> bool:
    return any(
        passage.document_id == other.document_id
        and abs(passage.ordinal - other.ordinal) <= 2 * distance + 1
        for other in group
    )


def _excerpt(group: Sequence[Passage], neighbours: Sequence[Neighbour], distance: int) -> Excerpt:
    best = group[0]
    around = [
        each
        for each in neighbours
        if each.document_id == best.document_id
        and any(abs(each.ordinal - found.ordinal) <= distance for found in group)
    ]
    found = {passage.passage_id for passage in group}
    ids = [each.passage_id for each in around if each.passage_id in found]
    return Excerpt(best, ids, "\n\n".join(each.text for each in around) or best.text)
