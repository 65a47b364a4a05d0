"""What one turn leaves behind besides its checkpoints: usage, audit, and how the run ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from storage.ledger import rows_of
from tenancy.assistant import Speaking
from tenancy.audit import AuditEvent
from tenancy.ids import RunId, TenantId, ThreadId
from tenancy.memory import Recall
from tenancy.plan import UNLIMITED
from tenancy.usage import Tokens, UsageEvent


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a thread; `fence` grows with every lease and locks old ones out.

    `speaking` says as whom.
    """

    tenant_id: TenantId
    thread_id: ThreadId
    run_id: RunId
    fence: int
    new_thread: bool
    speaking: Speaking = field(default_factory=Speaking, compare=False)
    memory: Recall = Recall.OFF
    checkpoint_id: str | None = None  # the latest, if nothing waits on it


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended. `result` is the JSON answer, kept for a client that asks again."""

    status: str
    tokens: Tokens
    result: Mapping[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """As `commit_turn` takes it."""
        return {
            "status": self.status,
            "result": self.result,
            "input_tokens": self.tokens.input_tokens,
            "output_tokens": self.tokens.output_tokens,
        }


@dataclass(slots=True)
class TurnRecord:
    """Events waiting for the turn's next commit, in the order in which they happened."""

    usage: list[UsageEvent] = field(default_factory=list)
    audit: list[AuditEvent] = field(default_factory=list)
    ending: Ending | None = None
    title: str = ""
    said: list[str] = field(default_factory=list)  # by which the thread is found
    keep: int = UNLIMITED  # checkpoints that stay in the thread after the run

    def __bool__(self) -> bool:
        return bool(self.usage or self.audit or self.ending)

    def take(self) -> "TurnRecord":
        """Everything so far, leaving this record empty."""
        taken = replace(self)
        self.usage, self.audit, self.ending = [], [], None
        return taken

    def put_back(self, taken: "TurnRecord") -> None:
        """What was taken, after its commit failed: event ids make a repetition harmless."""
        self.usage = taken.usage + self.usage
        self.audit = taken.audit + self.audit
        self.ending = self.ending or taken.ending

    def rows(self) -> dict[str, Any]:
        """As `commit_turn` takes them."""
        rows: dict[str, Any] = dict(rows_of(self.usage, self.audit))
        if self.ending is not None:
            rows |= {"r": self.ending.row(), "keep": self.keep}
            if self.said:
                rows["said"] = "\n".join(self.said)
        if self.title:
            rows["title"] = self.title
        return rows
