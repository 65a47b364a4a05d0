"""Refusals by a rate, remembered: until a place comes back, nobody need ask for one."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic

from tenancy.errors import QuotaExceeded
from tenancy.ids import SubjectId, TenantId
from tenancy.plan import Plan
from tenancy.quota import Verdict

KEPT = 10_000
RATES = {"requests": False, "user requests": True}  # and whether one user alone is refused

Key = tuple[TenantId, SubjectId | None]


@dataclass(slots=True)
class Refusals:
    """What a flood meets first: a look into memory instead of a run opened and taken back.

    Only a rate is remembered: its place comes back at a known time and never sooner, unless the
    plan changes, which ends the memory.
    """

    clock: Callable[[], float] = monotonic
    _until: OrderedDict[Key, tuple[float, Plan, str]] = field(default_factory=OrderedDict)

    def note(
        self, tenant_id: TenantId, subject_id: SubjectId, plan: Plan, verdict: Verdict
    ) -> None:
        """Remember a refusal by a rate."""
        if verdict.refused_by not in RATES:
            return
        key = (tenant_id, subject_id if RATES[verdict.refused_by] else None)
        until = self.clock() + verdict.retry_after.total_seconds()
        self._until[key] = (until, plan, verdict.refused_by)
        if len(self._until) > KEPT:
            self._until.popitem(last=False)

    def require_place(self, tenant_id: TenantId, subject_id: SubjectId, plan: Plan) -> None:
        """Raise `QuotaExceeded` where a place is known not to be back yet."""
        for key in ((tenant_id, None), (tenant_id, subject_id)):
            until, refused_on, refused_by = self._until.get(key, (0.0, plan, ""))
            left = until - self.clock()
            if left > 0 and refused_on == plan:
                raise QuotaExceeded(refused_by, timedelta(seconds=left))
