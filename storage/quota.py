"""Quotas in Redis: each decision is one atomic call of a script."""

from collections.abc import Callable
from datetime import UTC, datetime

from redis.asyncio import Redis

from storage.quota_wire import budget_arguments, checked, frame, gate_arguments, verdict_of
from storage.redis_client import Argument, Reply, script
from storage.redis_keys import Area, redis_key
from tenancy.ids import RunId, TenantId
from tenancy.plan import Plan
from tenancy.quota import Standing, Verdict

UNCLAIMED = -1  # tells the script that no call is to be settled
KEYS = ("rate", "slots", "tokens", "runs", "due")  # in the order the scripts expect
SCRIPTS = {
    "admit": ("shared", "holds", "admit"),
    "reserve": ("shared", "holds", "reserve"),
    "settle": ("shared", "settling", "settle"),
    "release": ("shared", "settling", "release"),
    "renew": ("shared", "renew"),
    "standings": ("shared", "standings"),
}


def now_utc() -> datetime:
    """The instant it is."""
    return datetime.now(UTC)


class RedisQuota:
    """Admits runs, holds tokens for model calls and settles them, exactly, across processes.

    Every method raises `Unavailable` when Redis does not answer. Another `clock` than the default
    also takes the place of Redis's own, which otherwise times rates, slots and holds.
    """

    def __init__(self, redis: Redis, *, clock: Callable[[], datetime] = now_utc) -> None:
        self._redis = redis
        self._clock = clock

    async def admit(
        self,
        tenant_id: TenantId,
        plan: Plan,
        *,
        run_id: RunId,
        hold_tokens: int,
        wanted_tokens: int = 0,
    ) -> Verdict:
        """Take a request, a slot and the hold of call 0, or nothing when any limit refuses.

        Where every budget has room, call 0 holds `wanted_tokens`; the verdict says what it holds.
        Asked again for the same run it charges nothing; it only takes a slot if the run has none.
        """
        now = self._clock()
        wanted = checked(wanted_tokens)
        limits = (*budget_arguments(plan, now), *gate_arguments(plan), wanted)
        reply = await self._call(
            "admit", tenant_id, now, str(run_id), 0, checked(hold_tokens), *limits
        )
        return verdict_of(reply, plan, now)

    async def reserve(
        self, tenant_id: TenantId, plan: Plan, *, run_id: RunId, call: int, tokens: int
    ) -> Verdict:
        """See to it that one model call holds at least `tokens`; refused, it keeps what it held.

        A call that is settled holds nothing any more: a second attempt needs a number of its own.
        """
        now = self._clock()
        limits = budget_arguments(plan, now)
        reply = await self._call(
            "reserve", tenant_id, now, str(run_id), call, checked(tokens), *limits
        )
        return verdict_of(reply, plan, now)

    async def settle(self, tenant_id: TenantId, *, run_id: RunId, call: int, tokens: int) -> bool:
        """Charge what one model call took in the place of its hold; False if that was done before.

        It counts in the periods the hold was taken in, or in the current ones where there was none.
        False also when an earlier attempt did it and its answer was lost: the charge stands once.
        """
        reply = await self._call(
            "settle", tenant_id, self._clock(), str(run_id), call, checked(tokens)
        )
        return bool(reply[0])

    async def release(
        self, tenant_id: TenantId, run_id: RunId, *, last: tuple[int, int] | None = None
    ) -> None:
        """Free the run's slot and give back every hold that is not settled.

        `last` is a call to settle first, with its tokens: a run's end is one call, not two.
        """
        call, tokens = (0, UNCLAIMED) if last is None else (last[0], checked(last[1]))
        await self._call("release", tenant_id, self._clock(), str(run_id), call, tokens)

    async def renew(self, tenant_id: TenantId, run_id: RunId) -> bool:
        """Keep the slot and the holds of a living run; False when its slot is gone."""
        return bool((await self._call("renew", tenant_id, self._clock(), str(run_id)))[0])

    async def standings(self, tenant_id: TenantId, plan: Plan) -> tuple[Standing, ...]:
        """Where the tenant stands: requests, runs, then tokens per minute, day and month."""
        now = self._clock()
        return verdict_of(await self._call("standings", tenant_id, now), plan, now).standings

    async def _call(
        self, name: str, tenant_id: TenantId, now: datetime, *arguments: Argument
    ) -> Reply:
        keys = [redis_key(tenant_id, Area.QUOTA, key) for key in KEYS]
        told = frame(now, frozen=self._clock is not now_utc)
        return await script(*SCRIPTS[name]).run(self._redis, keys, *told, *arguments)
