"""Redis goes away under load for a while and comes back: who notices, what is overspent?

    python -m bench.redis_outage [--variant stopped|killed|flushed] [--seconds 30] [--quiet 12]

Three kinds of tenants chat all along: quiet ones at a steady rate and far below their limits,
greedy ones as fast as they are let with a small budget a day, and one with `hard_limits`, which
must be refused rather than guessed at. `stopped`: Redis hangs (SIGSTOP) and goes on. `killed`: it
ends (SIGKILL) and starts again from its log. `flushed`: it forgets everything, and is never away.
Afterwards `tenantry reconcile` runs, and /v1/quota must say what /v1/usage says.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bench.chatting import Answer, Ask, Books, Client, by_tenant, client, percentile
from bench.deployment import Deployment, Limits, deployment

STOPPED, KILLED, FLUSHED = "stopped", "killed", "flushed"
FIRST_SECOND = 1.0  # of the outage: calls that were waiting for Redis then may fail
GREEDY_LIMIT = 20_000
ALLOWANCE = 0.25  # of a limit: what the product says it may overspend while Redis is away
GREEDY: Limits = {
    "tokens_per_day": GREEDY_LIMIT,
    "tokens_per_month": 10 * GREEDY_LIMIT,
    "max_output_tokens": 64,
    "concurrent_runs": 4,
}
QUIET: Limits = {
    "requests_per_minute": 600,
    "burst": 60,
    "concurrent_runs": 16,
    "tokens_per_minute": 400_000,
    "tokens_per_day": 5_000_000,
    "tokens_per_month": 100_000_000,
}


@dataclass(frozen=True, slots=True)
class Options:
    """Of one outage."""

    variant: str = STOPPED
    seconds: float = 30
    quiet: int = 12
    greedy: int = 3
    per_second: float = 0.5  # questions of each quiet tenant
    before_seconds: float = 6
    after_seconds: float = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer, by whom it was got; times are seconds since the outage began."""

    kind: str
    answer: Answer
    sent: float
    ended: float


@dataclass(slots=True)
class Findings:
    """What an outage did."""

    options: Options
    over_after: float = 0.0  # seconds from its beginning
    seen: list[Seen] = field(default_factory=list)
    spent: dict[int, int] = field(default_factory=dict)  # by the greedy, by second, in all
    overspent: dict[str, int] = field(default_factory=dict)
    reconciled: bool = False
    drift: int = 0
    held: int = 0

    def of(self, kind: str) -> list[Seen]:
        """What this kind of tenant saw."""
        return [each for each in self.seen if each.kind == kind]

    @property
    def late_faults(self) -> int:
        """Answers of 5xx, or none at all, to quiet tenants beyond the outage's first second."""
        return sum(
            _class_of(each.answer) in {"5xx", "lost"}
            for each in self.of("quiet")
            if each.sent >= FIRST_SECOND or each.ended < 0
        )

    @property
    def refused_quiet(self) -> int:
        """Quiet tenants' answers of 4xx: they are far below their limits."""
        return sum(_class_of(each.answer) == "4xx" for each in self.of("quiet"))

    @property
    def guessed_at(self) -> int:
        """Answers to the tenant with hard limits from within the outage."""
        inside = (
            each
            for each in self.of("hard")
            if each.sent > FIRST_SECOND and each.ended < self.over_after
        )
        away = self.options.variant != FLUSHED
        return sum(each.answer.status == 200 for each in inside) if away else 0

    @property
    def clean(self) -> bool:
        """Whether every claim holds."""
        allowed = int(GREEDY_LIMIT * ALLOWANCE)
        within = all(each <= allowed for each in self.overspent.values())
        return within and not (
            self.late_faults or self.refused_quiet or self.guessed_at or self.drift
        )


class Outage:
    """One campaign."""

    def __init__(self, running: Deployment, talker: Client, options: Options) -> None:
        self._running = running
        self._talker = talker
        self._options = options
        self._over = asyncio.Event()
        self._began = 0.0
        self.findings = Findings(options)
        self.quiet = [f"quiet-{number}" for number in range(options.quiet)]
        self.greedy = [f"greedy-{number}" for number in range(options.greedy)]

    async def run(self) -> Findings:
        """Load before, during and after."""
        since = datetime.now(UTC) - timedelta(seconds=1)
        made = dict.fromkeys(self.quiet, QUIET) | dict.fromkeys(self.greedy, GREEDY)
        made["hard"] = {**QUIET, "hard_limits": 1}
        await asyncio.to_thread(self._running.add_tenants, made)
        self._began = time.monotonic() + self._options.before_seconds
        async with asyncio.TaskGroup() as group:
            for number, tenant in enumerate((*self.quiet, "hard")):
                group.create_task(self._steady(tenant, number / (len(self.quiet) + 1)))
            for tenant in self.greedy:
                for _ in range(2):
                    group.create_task(self._greedy(tenant))
            group.create_task(self._watch())
            await asyncio.sleep(self._options.before_seconds)
            await self._go_away()
            await asyncio.sleep(self._options.after_seconds)
            self._over.set()
        await self._compare(since)
        return self.findings

    async def _go_away(self) -> None:
        redis, seconds = self._running.redis, self._options.seconds
        away: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            STOPPED: (redis.stop, redis.resume),
            KILLED: (redis.kill, redis.start),
            FLUSHED: (redis.flush, lambda: None),
        }
        leave, come_back = away[self._options.variant]
        self._began = time.monotonic()
        await asyncio.to_thread(leave)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(come_back)
        self.findings.over_after = time.monotonic() - self._began

    async def _steady(self, tenant: str, phase: float) -> None:
        """Ask at a rate, whether or not the last question was answered; not all at once."""
        kind, asked = tenant.partition("-")[0], 0
        await self._pause(phase / self._options.per_second)
        async with asyncio.TaskGroup() as group:
            while not self._over.is_set():
                asked += 1
                group.create_task(self._ask(kind, tenant, f"{tenant}-{asked} say:10 after:50"))
                await self._pause(1 / self._options.per_second)

    async def _greedy(self, tenant: str) -> None:
        while not self._over.is_set():
            answer = await self._ask("greedy", tenant, f"{tenant} say:60 after:50 each:2")
            await self._pause(0.1 if answer.whole else 0.5)

    async def _ask(self, kind: str, tenant: str, message: str) -> Answer:
        answer = await self._talker.chat(Ask(tenant, message))
        sent, ended = answer.sent - self._began, answer.ended - self._began
        self.findings.seen.append(Seen(kind, answer, sent, ended))
        return answer

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return

    async def _watch(self) -> None:
        """What the greedy have spent, by second, by the model's count."""
        while not self._over.is_set():
            made = by_tenant(await self._talker.books())
            spent = sum(made.get(tenant, Books()).total for tenant in self.greedy)
            self.findings.spent[int(time.monotonic() - self._began)] = spent
            await self._pause(1)

    async def _compare(self, since: datetime) -> None:
        self.findings.reconciled = await asyncio.to_thread(self._running.reconcile)
        made = by_tenant(await self._talker.books())
        for tenant in self.greedy:
            beyond = made.get(tenant, Books()).total - GREEDY_LIMIT
            self.findings.overspent[tenant] = max(0, beyond)
        for tenant in (*self.quiet, *self.greedy, "hard"):
            billed = await self._talker.usage(tenant, since)
            today = await self._talker.tokens_today(tenant)
            self.findings.drift += abs(today.used - billed.total)
            self.findings.held += today.held


async def campaign(running: Deployment, options: Options) -> Findings:
    """One outage."""
    async with client(running) as talker:
        return await Outage(running, talker, options).run()


def _class_of(answer: Answer) -> str:
    return "lost" if not answer.status else f"{answer.status // 100}xx"


def report(findings: Findings) -> None:
    """A line a second, then what must not have been."""
    kinds = ("quiet", "greedy", "hard")
    options, limit = findings.options, GREEDY_LIMIT * findings.options.greedy
    last = int(findings.over_after + options.after_seconds)
    print(
        "second  quiet 2xx 4xx 5xx lost | greedy 2xx 4xx 5xx lost | hard 2xx 4xx 5xx lost | spent"
    )
    for second in range(-int(options.before_seconds), last + 1):
        counts = [_counts(findings.of(kind), second) for kind in kinds]
        spent = findings.spent.get(second)
        print(f"{second:6}   {' |  '.join(counts)} | {'' if spent is None else spent} of {limit}")
    answered = [each for each in findings.of("quiet") if each.answer.whole and each.ended >= 0]
    waits = [each.ended - each.sent for each in answered]
    p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
    print(f"quiet from the outage on: p50 {p50:.2f} s, p99 {p99:.2f} s where answered")
    print(f"5xx or lost to quiet tenants beyond the first second: {findings.late_faults}")
    print(f"4xx to quiet tenants: {findings.refused_quiet}")
    print(f"answered with hard limits meanwhile: {findings.guessed_at}")
    allowed = int(GREEDY_LIMIT * ALLOWANCE)
    print(f"overspent of {GREEDY_LIMIT} each (allowed {allowed}): {findings.overspent}")
    done = "" if findings.reconciled else " (not reconciled: this build has no such command)"
    print(f"drift {findings.drift}, held {findings.held} tokens{done}")


def _counts(seen: Sequence[Seen], second: int) -> str:
    found = Counter(_class_of(each.answer) for each in seen if second <= each.sent < second + 1)
    return " ".join(f"{found[name]:3}" for name in ("2xx", "4xx", "5xx", "lost"))


def main() -> None:
    """Print the seconds; exit with 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    variants = (STOPPED, KILLED, FLUSHED)
    parser.add_argument("--variant", choices=variants, action="append")
    parser.add_argument("--seconds", type=float, default=Options().seconds)
    parser.add_argument("--quiet", type=int, default=Options().quiet)
    parser.add_argument("--servers", type=int, default=2)
    asked = parser.parse_args()
    clean = True
    for variant in asked.variant or variants:
        options = Options(variant, asked.seconds, asked.quiet)
        print(f"--- Redis is {variant}")
        with deployment(asked.servers) as running:
            findings = asyncio.run(campaign(running, options))
        report(findings)
        clean = clean and findings.clean
    raise SystemExit(not clean)


if __name__ == "__main__":
    main()
