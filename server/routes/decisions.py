"""What a person decided about the calls that a run waits for."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from server.routes.wire import Body, Text, carriable

MAX_DEPTH = 32  # of an edited argument; the checkpoint's serialiser gives up on much deeper ones
MAX_INTEGER = 2**63
MAX_CALLS = 64


def _storable(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"must not be nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        carriable(value)
    elif isinstance(value, dict):
        for item in (*value, *value.values()):
            _storable(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _storable(item, depth + 1)
    elif isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER:
        raise ValueError("must not hold an integer of more than 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must not hold an infinite number")
    return value


class Action(Body):
    """A call as a person rewrote it; `name` may be left out, and must be the call's own."""

    name: Text | None = Field(None, max_length=64)
    args: Annotated[dict[str, Any], AfterValidator(_storable)]


class Decision(Body):
    """What becomes of one call."""

    type: Literal["approve", "edit", "reject"]
    message: Text = Field("", max_length=500, description="Why, for the model; of a rejection")
    edited_action: Action | None = None

    @model_validator(mode="after")
    def _edited(self) -> "Decision":
        if (self.type == "edit") is (self.edited_action is None):
            raise ValueError("edited_action goes with edit, and edit with it")
        return self


class Resume(Body):
    """One decision for each call, in the order in which the interrupt listed them."""

    decisions: list[Decision] = Field(min_length=1, max_length=MAX_CALLS)
