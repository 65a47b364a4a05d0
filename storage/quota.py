"""Quotas in Redis: each decision is one atomic call of a script."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from storage.quota_scripts import ask
from storage.quota_wire import (
    UNKNOWN,
    Question,
    budget_question,
    claimed,
    gate_question,
    verdict_of,
)
from storage.redis_client import AnyRedis, Reply
from tenancy.errors import Unavailable
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.plan import Plan
from tenancy.quota import Claim, Standing, Verdict

Spent = Callable[[TenantId, SubjectId | None, datetime], Awaitable[Sequence[Claim]]]


def now_utc() -> datetime:
    """The instant it is."""
    return datetime.now(UTC)


async def nothing_spent(
    tenant_id: TenantId, subject_id: SubjectId | None, now: datetime
) -> Sequence[Claim]:
    """A ledger without an entry."""
    return [Claim(0)] * 3


class RedisQuota:
    """Admits runs, holds tokens and money for model calls and settles them, across processes.

    `spent` is what the ledger knows of minute, day and month of `now`, for a tenant or one of its
    users: asked where Redis has no figures, because it is new to them or has lost them.

    Every method raises `Unavailable` when Redis does not answer. Another `clock` than the default
    also takes the place of Redis's own, which otherwise times rates, slots and holds.
    """

    def __init__(
        self,
        redis: AnyRedis,
        *,
        spent: Spent = nothing_spent,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._redis = redis
        self._spent = spent
        self._clock = clock

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
        """Take a request, a slot and the hold of call 0, or nothing when any limit refuses.

        It holds the first of `offers` that fits, or `wanted` where every budget has room for many
        such; the verdict says what it holds. Asked again for the same run it charges nothing; it
        only takes a slot if the run has none.
        """
        now = self._clock()
        question = {
            "run": str(run_id),
            "call": "0",
            "wanted": wanted and claimed(wanted),
            **gate_question(plan),
            **budget_question(plan, now, offers),
        }
        reply = await self._decide("admit", tenant_id, subject_id, now, question)
        return verdict_of(reply, plan, now, gate=True, user=subject_id is not None)

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
        """See to it that one model call holds the first of `offers` that fits, at least.

        Refused, it keeps what it held. A call that is settled holds nothing any more: a second
        attempt needs a number of its own.
        """
        now = self._clock()
        question = {
            "run": str(run_id),
            "call": str(call),
            **gate_question(plan),
            **budget_question(plan, now, offers),
        }
        reply = await self._decide("reserve", tenant_id, subject_id, now, question)
        return verdict_of(reply, plan, now, gate=False, user=subject_id is not None)

    async def settle(
        self,
        tenant_id: TenantId,
        *,
        run_id: RunId,
        subject_id: SubjectId | None = None,
        call: int,
        actual: Claim,
    ) -> bool:
        """Charge what one model call took in the place of its hold; False if that was done before.

        It counts in the periods the hold was taken in, or in the current ones where there was none.
        False also when an earlier attempt did it and its answer was lost: the charge stands once.
        Where the figures are gone nothing is charged: they will be the ledger's, which has it.
        """
        question = {"run": str(run_id), "call": str(call), "actual": claimed(actual)[:2]}
        reply = await self._call("settle", tenant_id, subject_id, self._clock(), question)
        return reply == [1]

    async def release(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId | None = None,
        last: tuple[int, Claim] | None = None,
    ) -> None:
        """Free the run's slot and give back every hold that is not settled.

        `last` is a call to settle first, with what it took: a run's end is one call, not two.
        """
        question: Question = {"run": str(run_id)}
        if last is not None:
            question |= {"call": str(last[0]), "actual": claimed(last[1])[:2]}
        await self._call("release", tenant_id, subject_id, self._clock(), question)

    async def renew(
        self,
        tenant_id: TenantId,
        run_id: RunId,
        *,
        subject_id: SubjectId | None = None,
        holds: Mapping[int, Claim] | None = None,
    ) -> bool:
        """Keep the slot and the holds of a living run; False when its slot is gone.

        A Redis that knows nothing of the run takes `holds` for what it holds.
        """
        question: Question = {"run": str(run_id)}
        if holds is not None:
            question["holds"] = {str(call): claimed(claim) for call, claim in holds.items()}
        reply = await self._call("renew", tenant_id, subject_id, self._clock(), question)
        return reply == [1]

    async def standings(
        self, tenant_id: TenantId, plan: Plan, subject_id: SubjectId | None = None
    ) -> tuple[Standing, ...]:
        """Where the tenant stands: requests, runs, tokens, money; then its user, where limited."""
        now = self._clock()
        question = {"user_is_limited": False, **gate_question(plan)}
        reply = await self._decide("standings", tenant_id, subject_id, now, question)
        user = subject_id is not None
        return verdict_of(reply, plan, now, gate=False, user=user).standings

    async def _decide(
        self,
        name: str,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        now: datetime,
        question: Question,
    ) -> Reply:
        if subject_id is None:
            question["user_is_limited"] = False
        reply = await self._call(name, tenant_id, subject_id, now, question)
        if reply != UNKNOWN:
            return reply
        await self._seed(tenant_id, None, now)
        if question["user_is_limited"]:
            await self._seed(tenant_id, subject_id, now)
        reply = await self._call(name, tenant_id, subject_id, now, question)
        if reply == UNKNOWN:
            raise Unavailable  # it lost them again between two calls
        return reply

    async def _seed(self, tenant_id: TenantId, subject_id: SubjectId | None, now: datetime) -> None:
        spent = await self._spent(tenant_id, subject_id, now)
        question = {
            "spent": [claimed(claim)[:2] for claim in spent],
            "version": time.time_ns() // 1000,  # of this instant: not used before
        }
        await self._call("seed", tenant_id, subject_id, now, question)

    async def _call(
        self,
        name: str,
        tenant_id: TenantId,
        subject_id: SubjectId | None,
        now: datetime,
        question: Question,
    ) -> Reply:
        frozen = self._clock is not now_utc
        reply: Reply = await ask(
            self._redis, name, tenant_id, subject_id, question, now=now, frozen=frozen
        )
        return reply
