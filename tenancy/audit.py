"""Who did what to which thing, allowed or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from tenancy.ids import RunId, SubjectId, ThreadId


class Outcome(StrEnum):
    """How an action ended."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One action. `actor` is the actor chain, printed, or `operator` at the command line.

    `attributes` hold names, counts and reasons: never content.
    """

    event_id: UUID
    actor: str
    subject_id: SubjectId
    action: str
    resource: str
    outcome: Outcome
    created_at: datetime
    run_id: RunId | None = None
    thread_id: ThreadId | None = None
    attributes: Mapping[str, str | int | bool] = field(default_factory=dict)
