"""Quotas without Redis: what this process may admit by itself, in the same words."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import structlog

from storage.quota import Spent, now_utc
from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.local_limits import UNKNOWN, LocalLimits
from tenancy.plan import UNLIMITED, Plan
from tenancy.quota import Claim, Standing, Verdict, limits_users

LEDGER_SECONDS = 1.0  # Postgres may be away as well: then the fraction alone counts

log = structlog.get_logger()


class LocalQuota:
    """The methods of `RedisQuota`, within a published share of each limit.

    `spent` is what the ledger knows, asked once an outage for each tenant, and for each user where
    the plan limits users. `outage` is the number of the present one: with another, counting begins
    anew among as many `replicas` as there are then. What was admitted here may be settled and
    released here long after.
    """

    def __init__(
        self,
        spent: Spent,
        *,
        replicas: Callable[[], int],
        outage: Callable[[], int],
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._spent = spent
        self._replicas = replicas
        self._outage = outage
        self._clock = clock
        self._began: int | None = None
        self._limits = LocalLimits(1)

    async def admit(
        self,
        tenant_id: TenantId,
        plan: Plan,
        *,
        run_id: RunId,
        subject_id: SubjectId | None = None,
        offers: Sequence[Claim],
        wanted: Claim | None = None,
    ) -> Verdict:
        """As `RedisQuota.admit`, but never what is `wanted` beyond the offers.

        Raises `Unavailable` for a plan with hard limits, and where the plan has room and only the
        local share has none.
        """
        _refuse_hard_limits(plan)
        limits = await self._begin(tenant_id, plan, subject_id)
        return limits.admit(
            tenant_id, plan, self._clock(), run_id=run_id, subject_id=subject_id, offers=offers
        )

    async def reserve(
        self,
        tenant_id: TenantId,
        plan: Plan,
        *,
        run_id: RunId,
        subject_id: SubjectId | None = None,
        call: int,
        offers: Sequence[Claim],
    ) -> Verdict:
        """As `RedisQuota.reserve`; raises `Unavailable` for a plan with hard limits."""
        _refuse_hard_limits(plan)
        limits = await self._begin(tenant_id, plan, subject_id)
        return limits.reserve(
            tenant_id,
            plan,
            self._clock(),
            run_id=run_id,
            subject_id=subject_id,
            call=call,
            offers=offers,
        )

    async def settle(
        self,
        tenant_id: TenantId,
        *,
        run_id: RunId,
        subject_id: SubjectId | None = None,
        call: int,
        actual: Claim,
    ) -> bool:
        """As `RedisQuota.settle`; what belongs to an outage that is over counts no more."""
        if not self._limits.knows(tenant_id):
            return True
        return self._limits.settle(
            tenant_id,
            self._clock(),
            run_id=run_id,
            subject_id=subject_id,
            call=call,
            actual=actual,
        )

    async def release(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId | None = None,
        last: tuple[int, Claim] | None = None,
    ) -> None:
        """As `RedisQuota.release`."""
        if last is not None:
            call, actual = last
            await self.settle(
                tenant_id, run_id=run_id, subject_id=subject_id, call=call, actual=actual
            )
        if self._limits.knows(tenant_id):
            self._limits.release(tenant_id, run_id)

    async def renew(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId | None = None,
        holds: Mapping[int, Claim] | None = None,
    ) -> bool:
        """Let a living run go on; one from before the outage takes a slot and keeps its holds."""
        limits = self._of_this_outage()
        await self._begin_level(limits, tenant_id, None)
        limits.renew(
            tenant_id, self._clock(), run_id=run_id, subject_id=subject_id, holds=holds or {}
        )
        return True

    async def standings(
        self, tenant_id: TenantId, plan: Plan, subject_id: SubjectId | None = None
    ) -> tuple[Standing, ...]:
        """Where the tenant stands: requests and runs here, budgets as the ledger and this know."""
        limits = await self._begin(tenant_id, plan, subject_id)
        return limits.standings(tenant_id, plan, self._clock(), subject_id)

    async def _begin(
        self, tenant_id: TenantId, plan: Plan, subject_id: SubjectId | None = None
    ) -> LocalLimits:
        """The limits of this outage, with tenant and user counted in them."""
        limits = self._of_this_outage()
        await self._begin_level(limits, tenant_id, None)
        if subject_id is not None and _limits_each_user(plan):
            await self._begin_level(limits, tenant_id, subject_id)
        return limits

    def _of_this_outage(self) -> LocalLimits:
        """To be kept by who waits: another may take its place meanwhile."""
        if self._began != self._outage():
            self._began = self._outage()
            self._limits = LocalLimits(self._replicas())
        return self._limits

    async def _begin_level(
        self, limits: LocalLimits, tenant_id: TenantId, subject_id: SubjectId | None
    ) -> None:
        if limits.knows(tenant_id, subject_id):
            return
        now = self._clock()
        spent = await self._known(tenant_id, subject_id, now)
        limits.begin(tenant_id, subject_id, now, spent)

    async def _known(
        self, tenant_id: TenantId, subject_id: SubjectId | None, now: datetime
    ) -> Sequence[Claim]:
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                return await self._spent(tenant_id, subject_id, now)
        except (Unavailable, TimeoutError):
            log.warning("ledger_away", tenant_id=tenant_id)
            return UNKNOWN


def _refuse_hard_limits(plan: Plan) -> None:
    if plan.hard_limits:
        raise Unavailable("The plan's limits are hard: none is guessed while Redis is away.")


def _limits_each_user(plan: Plan) -> bool:
    gates = (plan.user_requests_per_minute, plan.user_concurrent_runs)
    return limits_users(plan) or any(limit != UNLIMITED for limit in gates)
