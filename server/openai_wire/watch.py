"""Who is told how an endpoint fares: each sign of pressure, and each answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Protocol

BYTES_PER_TOKEN = 4  # of English text; used only where an endpoint reports no usage


class Pressure(Protocol):
    """Is told of a 429, a 5xx, a lost or refused connection, or silence."""

    def __call__(self, endpoint: str, *, retry_after: timedelta | None) -> None:
        """`endpoint` is under pressure, and asks for `retry_after` if it said so."""
        ...


class Observed(Protocol):
    """Is told of each whole answer of a chat model."""

    def __call__(self, endpoint: str, *, seconds: float, tokens: int) -> None:
        """`seconds` from its request to its last byte, for `tokens` in and out."""
        ...


def unheard(endpoint: str, **_figures: Any) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The listeners of one endpoint, and the name by which they know it."""

    endpoint: str = ""
    pressure: Pressure = unheard
    observed: Observed = unheard

    def pressed(self, retry_after: timedelta | None = None) -> None:
        """Tell of a sign of pressure."""
        self.pressure(self.endpoint, retry_after=retry_after)

    def answered(self, started: float, usage: Mapping[str, int] | None, received: int) -> None:
        """Tell of an answer to what was sent at `started`: its own figures, or an estimate."""
        tokens = -(-received // BYTES_PER_TOKEN)
        if usage is not None:
            tokens = usage["prompt_tokens"] + usage["completion_tokens"]
        self.observed(self.endpoint, seconds=monotonic() - started, tokens=tokens)


UNWATCHED = Watch()
