"""Hits of several searches as those of one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tenancy.document import Passage, Reasons
from tenancy.ids import PassageId

CONSTANT = 10  # as in `tenantry.search_passages`: few ranks of a list say most
_NOWHERE = Reasons(None, None, None, None)


def fused(searches: Sequence[Sequence[Passage]], limit: int) -> list[Passage]:
    """The best `limit` passages of several searches for one question, ranked as if of one.

    Reciprocal rank fusion (Cormack et al., SIGIR '09) of all by distance and by word score. The
    weight of a word is that of its own search: by how rare it is there.
    """
    found = {passage.passage_id: passage for each in searches for passage in each}
    near = _places(found.values(), lambda r: r.distance if r.distance_rank else None)
    word = _places(found.values(), lambda r: None if r.word_score is None else -r.word_score)
    scored = [_scored(each, near.get(id_), word.get(id_)) for id_, each in found.items()]
    return sorted(scored, key=lambda each: (-each.score, each.passage_id))[:limit]


def _places(
    passages: Iterable[Passage], measure: Callable[[Reasons], float | None]
) -> dict[PassageId, int]:
    """The place of each passage that has the measure, the lowest first."""
    measured = [(measure(each.reasons or _NOWHERE), each.passage_id) for each in passages]
    ranked = sorted((value, id_) for value, id_ in measured if value is not None)
    return {id_: place for place, (_, id_) in enumerate(ranked, 1)}


def _scored(passage: Passage, near: int | None, word: int | None) -> Passage:
    known = passage.reasons or _NOWHERE
    reasons = replace(known, distance_rank=near, word_rank=word)
    score = sum(1 / (CONSTANT + place) for place in (near, word) if place is not None)
    return replace(passage, score=score, reasons=reasons)
