"""One immutable fact that something was consumed."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from tenancy.ids import RunId, SubjectId

NAMESPACE = UUID("8c1f6c52-7f0e-5d0b-9d6b-6b1f2f3c9a10")  # fixed for ever: event ids derive from it


class Meter(StrEnum):
    """What is counted."""

    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOOL_CALLS = "tool_calls"
    RUNS = "runs"
    EMBEDDING_TOKENS = "embedding_tokens"


class Noise(StrEnum):
    """What a tenant may do too much of, in the eyes of an operator."""

    TOKENS = "tokens"
    RUNS = "runs"
    TOOL_CALLS = "tool_calls"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """`quantity` units of `meter`. The id is deterministic, so a retry never counts twice.

    `cost` is in micro-units of a minor unit of the deployment's currency.
    """

    event_id: UUID
    meter: Meter
    quantity: int
    model: str
    run_id: RunId | None
    subject_id: SubjectId
    created_at: datetime
    cost: int = 0


def usage_event_id(source: UUID, meter: Meter, part: str) -> UUID:
    """The id of the event that `part` of `source` (a run or a document) causes on `meter`."""
    return uuid5(NAMESPACE, f"{source}/{part}/{meter.value}")


def embedding_usage(
    source: UUID, part: str, *, model: str, tokens: int, subject_id: SubjectId, at: datetime
) -> list[UsageEvent]:
    """What embedding outside a run consumed, as usage events: none or one."""
    if not tokens:
        return []
    meter = Meter.EMBEDDING_TOKENS
    event_id = usage_event_id(source, meter, part)
    return [UsageEvent(event_id, meter, tokens, model, None, subject_id, at)]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one or more model calls, as the provider counted them."""

    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens
        )
