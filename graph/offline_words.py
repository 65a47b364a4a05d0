"""Words as the offline model compares them: without case, filler and endings."""

import math
import re
from collections.abc import Sequence

FILLER = frozenset(
    re.findall(
        r"\w+",
        """
        a an the of to in on for and or is are was were be been am do does did done has have had
        what which who whom whose how when where why can could will would shall should may might
        must i me my we us our you your he she it its they them their this that these those with
        by at from as about into if then there here so not no yes please tell give say much many
        any some
        """,
    )
)
ENDINGS = ("ings", "ing", "ies", "ied", "ed", "es", "s", "y", "e")
SHORTEST_STEM = 3


def stems(text: str) -> list[str]:
    """The words that carry meaning, each cut to its stem."""
    return [_stem(word) for word in re.findall(r"[^\W_]+", text.casefold()) if word not in FILLER]


def _stem(word: str) -> str:
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= SHORTEST_STEM:
            return word[: -len(ending)]
    return word


def coverages(question: str, texts: Sequence[str]) -> list[float]:
    """How much of the question's words each text holds, 0 to 1; rare words count for more."""
    asked = set(stems(question))
    bags = [asked.intersection(stems(text)) for text in texts]
    weights = {
        word: math.log(1 + len(texts) / (1 + sum(word in bag for bag in bags))) for word in asked
    }
    total = sum(weights.values())
    return [sum(weights[word] for word in bag) / total if total else 0.0 for bag in bags]
