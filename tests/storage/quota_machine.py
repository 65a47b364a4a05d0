"""Anything that may happen to a tenant's quota, step by step, beside the rules in plain words."""

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID

import ormsgpack
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from storage.quota import RedisQuota
from storage.quota_scripts import KEYS
from storage.quota_wire import user_digest
from storage.redis_client import AnyRedis, nodes_of
from storage.redis_keys import Area, redis_key
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.price import MICROS
from tenancy.quota import Claim, Level, Period, Verdict, budgets_of, rate_of, slots_of
from tests.storage.quota_model import PLANS, Clock, Model

T = TypeVar("T")
NUMBERS = count()
RUNS = [RunId(UUID(int=number)) for number in range(5)]
USERS = [SubjectId("ann@example.com"), SubjectId("bob")]
SLEEPS = [0.5, 1, 2, 3, 10, 29, 30, 59, 60, 120, 600, 43_200, 86_400 * 8]

Contents = dict[str, Any]
Figures = dict[SubjectId | None, list[tuple[int, ...]]]

runs, calls = st.sampled_from(RUNS), st.integers(0, 2)
claims = st.builds(Claim, st.integers(0, 70), st.integers(0, 2 * MICROS))
offers = st.lists(claims, min_size=1, max_size=3)


def user_of(run: RunId) -> SubjectId:
    return USERS[run.int % 2]


class QuotaMachine(RuleBasedStateMachine):
    """Subclass it with the `runner` and the `redis` it runs on."""

    runner: asyncio.Runner
    redis: AnyRedis

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tenant = TenantId(f"machine-{next(NUMBERS)}")
        self.other = TenantId(f"bystander-{next(NUMBERS)}")
        self.quota = RedisQuota(self.redis, clock=self.clock)
        self.model = Model(self.clock)
        self.admitted: list[datetime] = []

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    @initialize()
    def somebody_else_is_there(self) -> None:
        plan, run = self.model.plan, RUNS[0]
        self.wait(self.quota.admit(self.other, plan, run_id=run, offers=[Claim(9)]))
        self.wait(self.quota.standings(self.tenant, plan))
        for user in USERS:  # of whom Redis has no figures yet
            self.wait(
                self.quota.reserve(
                    self.tenant, plan, run_id=run, subject_id=user, call=9, offers=[Claim(10**9)]
                )
            )
        self.bystander = self.dump(self.other)

    def read(self, *command: str) -> Any:
        return self.wait(self.redis.execute_command(*command))

    def dump(self, tenant: TenantId) -> Contents:
        names = [redis_key(tenant, Area.QUOTA, key) for key in KEYS]
        names += [f"{name}/{user_digest(user)}" for name in names[:3] for user in USERS]
        return {name: self.wait(self.contents(name)) for name in names}

    async def contents(self, name: str) -> Any:
        """What the key holds: DUMP has it in an order that reading may change."""
        ask = self.redis.execute_command
        kind = await ask("TYPE", name)
        if kind == b"hash":
            return await ask("HGETALL", name)
        if kind == b"zset":
            return await ask("ZRANGE", name, 0, -1, "WITHSCORES")
        return await ask("GET", name)

    @rule(run=runs, wanted=offers)
    def admit(self, run: RunId, wanted: list[Claim]) -> None:
        self.look(user_of(run))
        before, figures, places = self.dump(self.tenant), self.all(), self.places_of(run)
        was_admitted = self.is_admitted(run)
        verdict = self.wait(
            self.quota.admit(
                self.tenant,
                self.model.plan,
                run_id=run,
                subject_id=user_of(run),
                offers=wanted,
            )
        )
        chosen, waits = self.model.admit(run, user_of(run), wanted)
        self.check(verdict, chosen, waits, before)
        if verdict.admitted:
            self.nothing_is_overspent(figures)
            self.slots_are_within_the_caps(run, places)
            if not was_admitted:
                self.admitted.append(self.clock.now)

    @rule(run=runs, call=calls, wanted=offers)
    def reserve(self, run: RunId, call: int, wanted: list[Claim]) -> None:
        self.look(user_of(run))
        before, figures = self.dump(self.tenant), self.all()
        verdict = self.wait(
            self.quota.reserve(
                self.tenant,
                self.model.plan,
                run_id=run,
                subject_id=user_of(run),
                call=call,
                offers=wanted,
            )
        )
        chosen, waits = self.model.reserve(run, user_of(run), call, wanted)
        self.check(verdict, chosen, waits, before)
        if verdict.admitted:
            self.nothing_is_overspent(figures)

    @rule(run=runs, call=calls, actual=claims, again=claims)
    def settle(self, run: RunId, call: int, actual: Claim, again: Claim) -> None:
        self.look(user_of(run))
        for claim in (actual, again):
            done = self.wait(
                self.quota.settle(
                    self.tenant,
                    run_id=run,
                    subject_id=user_of(run),
                    call=call,
                    actual=claim,
                )
            )
            assert done == self.model.settle(run, user_of(run), call, claim)
        assert not done

    @rule(run=runs)
    def release(self, run: RunId) -> None:
        self.wait(self.quota.release(self.tenant, run, subject_id=user_of(run)))
        self.model.release(run)

    @rule(run=runs)
    def renew(self, run: RunId) -> None:
        renewed = self.wait(self.quota.renew(self.tenant, run, subject_id=user_of(run)))
        assert renewed == self.model.renew(run)

    @rule(seconds=st.sampled_from(SLEEPS))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(plan=st.sampled_from(PLANS))
    def another_plan(self, plan: Any) -> None:
        self.model.plan, self.admitted = plan, []

    @rule()
    def scripts_are_forgotten(self) -> None:
        self.wait(self.forget_scripts())

    async def forget_scripts(self) -> None:
        for node in (await nodes_of(self.redis)).values():
            await node.script_flush()

    def is_admitted(self, run: RunId) -> bool:
        return run in self.model.runs and self.model.runs[run].admitted

    def look(self, user: SubjectId) -> None:
        """Expired holds are charged by the next call, whoever makes it: let it be this one."""
        self.wait(self.quota.standings(self.tenant, self.model.plan, user))
        self.model.reap(user)

    def check(
        self,
        verdict: Verdict,
        chosen: int,
        waits: dict[str, timedelta],
        before: Contents,
    ) -> None:
        assert verdict.admitted == (not waits)
        assert verdict.chosen == chosen
        if waits:
            assert verdict.retry_after == max(waits.values())
            assert waits[verdict.refused_by or ""] == verdict.retry_after
            assert self.dump(self.tenant) == before, "a refusal changes nothing"

    def nothing_is_overspent(self, before: Figures) -> None:
        """Where more is taken than before, all that is taken fits."""
        for budget in budgets_of(self.model.plan):
            for user in USERS if budget.level is Level.USER else [None]:
                place = list(Period).index(budget.period)
                money = 2 if budget.meter == "money" else 0
                taken = [sum(rows[user][place][money : money + 2]) for rows in (before, self.all())]
                if budget.limit >= 0 and taken[1] > taken[0]:
                    assert taken[1] <= budget.limit * (MICROS if money else 1)

    def slots_are_within_the_caps(self, run: RunId, before: set[str]) -> None:
        for place, most in zip(("", user_of(run)), slots_of(self.model.plan), strict=True):
            if place not in before:
                assert self.read("ZCARD", self.slots_at(place)) <= most

    def places_of(self, run: RunId) -> set[str]:
        """Where the run has a slot: the tenant's, its user's."""
        places = ("", user_of(run))
        return {p for p in places if self.read("ZSCORE", self.slots_at(p), str(run))}

    def slots_at(self, place: str) -> str:
        name = redis_key(self.tenant, Area.QUOTA, "slots")
        return f"{name}/{user_digest(SubjectId(place))}" if place else name

    def all(self) -> Figures:
        return {user: self.figures(user) for user in (None, *USERS)}

    def figures(self, user: SubjectId | None) -> list[tuple[int, ...]]:
        name = redis_key(self.tenant, Area.QUOTA, "counters")
        stored = self.read("HGETALL", f"{name}/{user_digest(user)}" if user else name)
        kinds = ("spent", "held", "cost", "cost_held")
        return [
            tuple(int(stored.get(f"{period}:{kind}".encode(), 0)) for kind in kinds)
            for period in self.model.periods()
        ]

    @invariant()
    def figures_are_sums_of_what_happened(self) -> None:
        for user in (None, *USERS):
            rows = self.figures(user)
            assert rows == self.model.figures(user, self.model.periods())
            assert all(figure >= 0 for row in rows for figure in row)

    @invariant()
    def what_is_held_is_the_sum_of_open_reservations(self) -> None:
        name = redis_key(self.tenant, Area.QUOTA, "runs")
        records = self.read("HVALS", name)
        open_holds = [
            hold
            for record in map(ormsgpack.unpackb, records)
            for hold in (record["calls"].values() if record["calls"] else ())
            if hold["state"] == "held"
        ]
        for period, row in zip(self.model.periods(), self.figures(None), strict=True):
            mine = [hold for hold in open_holds if period in hold["periods"]]
            assert row[1] == sum(hold["tokens"] for hold in mine)
            assert row[3] == sum(hold["cost"] for hold in mine)

    @invariant()
    def no_window_holds_more_requests_than_burst_and_rate_allow(self) -> None:
        rate = rate_of(self.model.plan)
        assert rate.interval is not None
        times = self.admitted
        for first, start in enumerate(times):
            for last in range(first, len(times)):
                most = rate.burst + (times[last] - start) / rate.interval
                assert last - first + 1 <= most + 1e-6

    @invariant()
    def nobody_else_is_touched(self) -> None:
        if hasattr(self, "bystander"):
            assert self.dump(self.other) == self.bystander
