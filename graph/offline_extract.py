"""The sentences that best answer a question, by meaning and by word."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable

import numpy as np

from graph.offline_sentences import Quotable
from graph.offline_words import coverages, stems

Vectors = Sequence[Sequence[float]]
Embed = Callable[[Sequence[str]], Awaitable[Vectors] | Vectors]

ABSTAIN_BELOW = 0.25  # cosine of question and sentence
ABSTAIN_WITHOUT_WORDS_BELOW = 0.4  # a paraphrase that shares no word must be a close one
WORD_WEIGHT = 0.4  # of the score; meaning has the rest
SECOND_AT_LEAST = 0.8  # of the best score, to be quoted beside it
CANDIDATES = 16  # embedding one costs some 10 ms; 32 and 64 found no better answers


async def best_sentences(
    question: str, sentences: Sequence[Quotable], embed: Embed
) -> list[Quotable]:
    """One or two sentences that answer the question, best first; none when none does."""
    covered = coverages(question, [sentence.meaning for sentence in sentences])
    order = sorted(range(len(sentences)), key=lambda i: -covered[i])[:CANDIDATES]
    chosen = [sentences[i] for i in order]
    if not chosen:
        return []
    cosines = await _cosines(question, chosen, embed)
    scored = [
        ((1 - WORD_WEIGHT) * cosine + WORD_WEIGHT * covered[i], sentences[i])
        for i, cosine in zip(order, cosines, strict=True)
        if cosine >= (ABSTAIN_BELOW if covered[i] else ABSTAIN_WITHOUT_WORDS_BELOW)
    ]
    return _best(sorted(scored, key=lambda pair: -pair[0]))


async def _cosines(question: str, sentences: Sequence[Quotable], embed: Embed) -> list[float]:
    embedded = embed([question, *(sentence.meaning for sentence in sentences)])
    vectors = np.asarray(await embedded if isawaitable(embedded) else embedded, dtype=np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines: list[float] = (vectors[1:] @ vectors[0]).tolist()
    return cosines


def _best(ranked: Sequence[tuple[float, Quotable]]) -> list[Quotable]:
    if not ranked:
        return []
    top, first = ranked[0]
    said = set(stems(first.text))
    for score, sentence in ranked[1:]:
        if score < SECOND_AT_LEAST * top:
            break
        if not set(stems(sentence.text)) <= said:  # else it repeats the first
            return [first, sentence]
    return [first]
