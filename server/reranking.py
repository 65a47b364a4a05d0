"""A search of its own, in the order that the tenant's model gives it: held and billed, no run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graph.ports import Models
from graph.reranking import reranked
from server.asides import Asides
from tenancy.document import Passage
from tenancy.errors import QuotaExceeded, Unavailable
from tenancy.principal import Principal
from tenancy.wishes import NO_WISHES


@dataclass(frozen=True, slots=True)
class Ranking:
    """Found passages, best first; `before` is the order they had where a model changed it."""

    passages: Sequence[Passage]
    before: Sequence[Passage] | None = None

    def places(self, passage: Passage) -> dict[str, Any]:
        """A passage's places, from 1: where it was found, and where it is now."""
        if self.before is None:
            return {}
        return {
            "found_rank": self.before.index(passage) + 1,
            "rank": self.passages.index(passage) + 1,
        }


@dataclass(frozen=True, slots=True)
class Reranker:
    """Asks for an order; what fails leaves the one there is."""

    asides: Asides
    models: Models

    async def ranking(self, caller: Principal, query: str, found: Sequence[Passage]) -> Ranking:
        """The passages as the tenant's model orders them, or as they were found."""
        try:
            async with self.asides.turn(caller, wishes=NO_WISHES) as turn:
                order = await reranked(turn, query, found, self.models)
        except (QuotaExceeded, Unavailable):  # no place in the queue, or no record to begin with
            order = None
        return Ranking(found) if order is None else Ranking(order, before=found)
