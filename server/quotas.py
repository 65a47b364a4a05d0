"""The counters in Redis; while they are away, what a process may admit by itself."""

import itertools
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import structlog

from server.quota_fallback import LocalQuota
from server.quota_watch import Concerns, QuotaWatch
from storage.quota import RedisQuota
from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import Plan
from tenancy.quota import Claim, Standing, Verdict

log = structlog.get_logger()

MOST_OWED = 10_000  # things Redis is told when it is back; what is beyond expires, and is mended
MOST_SEEN = 10_000  # tenants that are reconciled when Redis lost something

T = TypeVar("T")
Debt = Callable[[], Awaitable[object]]


class Quotas:
    """Limited, never unlimited, and never a total outage.

    A call that was held locally is settled locally, and its tenant reconciled when Redis is back
    and when the run ends. What Redis could not be told it is told then.
    """

    def __init__(
        self,
        shared: RedisQuota,
        local: LocalQuota,
        watch: QuotaWatch,
        *,
        reconcile: Callable[[TenantId], None],
    ) -> None:
        self._shared = shared
        self._local = local
        self._watch = watch
        self._reconcile = reconcile
        self._local_calls: dict[RunId, set[int]] = {}
        self._strayed: set[TenantId] = set()
        self._seen: OrderedDict[TenantId, None] = OrderedDict()
        self._owed: dict[int, tuple[TenantId, Debt]] = {}  # in the order it came
        self._debts = itertools.count()
        watch.on_return.append(self._catch_up)
        watch.on_loss.append(self._look_again)

    async def admit(
        self,
        tenant_id: TenantId,
        plan: Plan,
        *,
        run_id: RunId,
        subject_id: SubjectId,
        offers: Sequence[Claim],
        wanted: Claim | None = None,
    ) -> Verdict:
        """As `RedisQuota.admit`. Raises `Unavailable` where a plan's limits are hard."""
        admit = partial(
            self._shared.admit,
            tenant_id,
            plan,
            run_id=run_id,
            subject_id=subject_id,
            offers=offers,
            wanted=wanted,
        )
        self._see(tenant_id)
        asked = not self._watch.away_for(tenant_id)
        if (verdict := await self._try(tenant_id, admit)) is not None:
            return verdict
        if asked:  # it may have been admitted all the same, its answer lost
            taken = partial(self._shared.release, tenant_id, run_id, subject_id=subject_id)
            self._owe(tenant_id, taken)
        verdict = await self._local.admit(
            tenant_id,
            plan,
            run_id=run_id,
            subject_id=subject_id,
            offers=offers,
            wanted=wanted,
        )
        return self._noted(verdict, tenant_id, run_id, 0)

    async def reserve(
        self,
        tenant_id: TenantId,
        plan: Plan,
        *,
        run_id: RunId,
        subject_id: SubjectId,
        call: int,
        offers: Sequence[Claim],
    ) -> Verdict:
        """As `RedisQuota.reserve`; a run that is local stays so."""
        ask = partial(
            self._shared.reserve,
            tenant_id,
            plan,
            run_id=run_id,
            subject_id=subject_id,
            call=call,
            offers=offers,
        )
        if (
            run_id not in self._local_calls
            and (verdict := await self._try(tenant_id, ask)) is not None
        ):
            return verdict
        verdict = await self._local.reserve(
            tenant_id, plan, run_id=run_id, subject_id=subject_id, call=call, offers=offers
        )
        return self._noted(verdict, tenant_id, run_id, call)

    async def settle(
        self,
        tenant_id: TenantId,
        *,
        run_id: RunId,
        subject_id: SubjectId,
        call: int,
        actual: Claim,
    ) -> None:
        """Settle a call where it is held; what Redis misses it is told when it is back."""
        is_local = call in self._local_calls.get(run_id, ())
        if is_local or self._watch.away_for(tenant_id):
            await self._local.settle(
                tenant_id, run_id=run_id, subject_id=subject_id, call=call, actual=actual
            )
        if is_local:
            return
        await self._tell(
            tenant_id,
            partial(
                self._shared.settle,
                tenant_id,
                run_id=run_id,
                subject_id=subject_id,
                call=call,
                actual=actual,
            ),
        )

    async def release(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId,
        last: tuple[int, Claim] | None = None,
    ) -> None:
        """Let go of what the run holds, there and here."""
        calls = self._local_calls.pop(run_id, set())
        is_local = last is not None and last[0] in calls
        here = last if is_local or self._watch.away_for(tenant_id) else None
        await self._local.release(tenant_id, run_id, subject_id=subject_id, last=here)
        if calls:
            last = None if is_local else last
            self._reconcile_later(tenant_id)
        if 0 in calls:
            return  # Redis knows nothing of it
        await self._tell(
            tenant_id,
            partial(self._shared.release, tenant_id, run_id, subject_id=subject_id, last=last),
        )

    async def renew(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId,
        holds: Mapping[int, Claim],
    ) -> None:
        """Keep what the run holds."""
        ask = partial(self._shared.renew, tenant_id, run_id, subject_id=subject_id, holds=holds)
        if run_id in self._local_calls or await self._try(tenant_id, ask) is None:
            await self._local.renew(tenant_id, run_id, subject_id=subject_id, holds=holds)

    async def standings(
        self, tenant_id: TenantId, plan: Plan, subject_id: SubjectId | None = None
    ) -> tuple[Standing, ...]:
        """Where tenant and user stand, as far as is known."""
        ask = partial(self._shared.standings, tenant_id, plan, subject_id)
        if (found := await self._try(tenant_id, ask)) is not None:
            return found
        return await self._local.standings(tenant_id, plan, subject_id)

    async def _catch_up(self, concerns: Concerns) -> None:
        """Tell Redis, which is back, what it missed. Raises `Unavailable`."""
        while owed := [number for number, (who, _) in self._owed.items() if concerns(who)]:
            for number in owed:  # meanwhile there may be more: until it is back, all is owed
                await self._owed[number][1]()
                del self._owed[number]
        for tenant_id in [each for each in self._strayed if concerns(each)]:
            self._strayed.discard(tenant_id)
            self._reconcile(tenant_id)

    async def _look_again(self, concerns: Concerns) -> None:
        """Redis lost something: what it still has may be older than the ledger."""
        for tenant_id in self._seen:
            if concerns(tenant_id):
                self._reconcile(tenant_id)

    def _see(self, tenant_id: TenantId) -> None:
        self._seen[tenant_id] = None
        self._seen.move_to_end(tenant_id)
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _noted(self, verdict: Verdict, tenant_id: TenantId, run_id: RunId, call: int) -> Verdict:
        if verdict.admitted:
            self._local_calls.setdefault(run_id, set()).add(call)
            self._strayed.add(tenant_id)
        return verdict

    def _reconcile_later(self, tenant_id: TenantId) -> None:
        if self._watch.away_for(tenant_id):
            self._strayed.add(tenant_id)
        else:
            self._reconcile(tenant_id)

    async def _try(self, tenant_id: TenantId, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What Redis answers; None while it is away."""
        if self._watch.away_for(tenant_id):
            return None
        try:
            return await ask()
        except Unavailable:
            self._watch.failed(tenant_id)
            return None

    async def _tell(self, tenant_id: TenantId, debt: Debt) -> None:
        if self._watch.away_for(tenant_id):
            self._owe(tenant_id, debt)
            return
        try:
            await debt()
        except Unavailable:
            self._watch.failed(tenant_id)
            self._owe(tenant_id, debt)

    def _owe(self, tenant_id: TenantId, debt: Debt) -> None:
        if len(self._owed) < MOST_OWED:
            self._owed[next(self._debts)] = (tenant_id, debt)
        else:
            log.warning("settle_postponed")
