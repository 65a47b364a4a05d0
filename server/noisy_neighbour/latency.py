"""What was answered and how soon, as numbers."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

NO_ANSWER = 0  # in the place of a status


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended, and how many seconds after it was due."""

    status: int
    seconds: float


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The least of the values that `percent` of them do not exceed; NaN where there are none."""
    if not seconds:
        return math.nan
    rank = math.ceil(len(seconds) * percent / 100)
    return sorted(seconds)[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Tally:
    """The answers of one tenant in one phase."""

    answers: Collection[Answer]
    elapsed_seconds: float

    @property
    def requests(self) -> int:
        """How many were made."""
        return len(self.answers)

    @property
    def answered(self) -> int:
        """How many got what they asked for."""
        return self._count(HTTPStatus.OK)

    @property
    def over_limit(self) -> int:
        """How many were refused for a limit of the tenant's."""
        return self._count(HTTPStatus.TOO_MANY_REQUESTS)

    @property
    def unavailable(self) -> int:
        """How many were refused because the deployment could not."""
        return self._count(HTTPStatus.SERVICE_UNAVAILABLE)

    @property
    def failed(self) -> int:
        """How many ended in any other way, or not at all."""
        return self.requests - self.answered - self.over_limit - self.unavailable

    @property
    def per_second(self) -> float:
        """How many were answered in a second."""
        return self.answered / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def seconds(self) -> list[float]:
        """How long each that was answered took, the shortest first."""
        return sorted(each.seconds for each in self.answers if each.status == HTTPStatus.OK)

    def milliseconds(self, percent: float) -> float:
        """A percentile of the answered ones."""
        return percentile(self.seconds, percent) * 1000

    def _count(self, status: HTTPStatus) -> int:
        return sum(each.status == status for each in self.answers)
