"""What a run carries from node to node, and what of it is remembered. Plain data only."""

from typing import Annotated, NotRequired

from langchain_core.messages import AnyMessage
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from tenancy.errors import TenantMismatch


def write_once(stored: str, stamped: str) -> str:
    """A thread never changes tenant: raises `TenantMismatch` when one tries to."""
    if stored and stamped != stored:
        raise TenantMismatch
    return stamped


class NumberedPassage(TypedDict):
    """A passage under the number by which an answer cites it, and its corpus if it is shared."""

    n: int
    document_id: str
    passage_id: str
    title: str
    text: str
    corpus_id: NotRequired[str]


class InputState(TypedDict):
    """What a client may send: everything else in the input is dropped."""

    messages: Annotated[list[AnyMessage], add_messages]


class AgentState(InputState):
    """The whole state. `tools` and `passages` are those of the turn at hand.

    So is `searched_for`: what was looked up in the place of its question, or ''.
    """

    tenant_id: Annotated[str, write_once]
    tools: list[str]
    passages: list[NumberedPassage]
    searched_for: NotRequired[str]


class OutputState(InputState):
    """What a run returns."""

    tenant_id: str


class Options(TypedDict):
    """What a client may choose for one run."""

    assistant: NotRequired[str]


class Update(TypedDict, total=False):
    """What a node returns: the keys it changes."""

    messages: list[AnyMessage]
    tenant_id: str
    tools: list[str]
    passages: list[NumberedPassage]
    searched_for: str
