"""A client that comes back when `Retry-After` says so: is it refused again?

    python -m bench.retry_after [--trials 1000] [--servers 2] [--run-seconds 0.2 1.5]

A trial is a client of a tenant with one small limit: it asks until it is refused, waits exactly as
long as it is told from the moment the refusal arrived, and asks again. Nobody else asks for that
tenant meanwhile. Budgets of a day and a month are not tried: their `Retry-After` is hours.
A kind whose limit this build does not store is left out, and said so.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.chatting import Answer, Ask, Client, client
from bench.deployment import Deployment, Limits, deployment

CHEAP, DEAR = "say:8", "say:400"
AT_ONCE = 12  # requests being made by all trials that only wait for answers
MOST_ASKED = 12  # a client that was not refused by then met no limit
FEW_CHATS = {"tokens_per_minute": 3_000, "max_output_tokens": 400}  # one fits, many do not
LIMITS: Mapping[str, Limits] = {
    "requests": {"requests_per_minute": 60, "burst": 1},
    "burst": {"requests_per_minute": 30, "burst": 4},
    "tokens per minute": FEW_CHATS,
    "concurrent runs": {"concurrent_runs": 1},
    "user requests": {"user_requests_per_minute": 20, "user_burst": 1},
    "user tokens": {"user_tokens_per_minute": 3_000, "max_output_tokens": 400},
    "user runs": {"user_concurrent_runs": 1},
    "queue length": {"model_calls_in_flight": 1, "queue_length": 1},
    "queue wait": {"model_calls_in_flight": 1, "queue_seconds": 1},
}
OCCUPANTS = {"concurrent runs": 1, "user runs": 1, "queue length": 2, "queue wait": 1}


@dataclass(slots=True)
class Outcome:
    """Of all trials of one kind."""

    trials: int = 0
    never_refused: int = 0
    refused_again: int = 0
    failed: int = 0
    untold: int = 0  # refusals without Retry-After
    statuses: Counter[int] = field(default_factory=Counter)
    told: list[int] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)


class Trials:
    """All trials of one kind, side by side, each with a tenant of its own."""

    def __init__(self, kind: str, talker: Client, gate: asyncio.Semaphore, dice: random.Random):
        self.kind = kind
        self.outcome = Outcome()
        self._talker = talker
        self._gate = gate
        self._dice = dice

    async def run(self, tenants: Iterable[str], run_seconds: Sequence[float]) -> None:
        """One trial a tenant."""
        alone = self._crowded if self.kind in OCCUPANTS else self._alone
        await asyncio.gather(*(alone(tenant, run_seconds) for tenant in tenants))

    async def _alone(self, tenant: str, run_seconds: Sequence[float]) -> None:
        """A client that asks one thing after the other."""
        for _ in range(MOST_ASKED):
            answer = await self._ask(tenant, DEAR)
            if answer.refused:
                return await self._retry(tenant, answer)
        self.outcome.trials += 1
        self.outcome.never_refused += 1

    async def _crowded(self, tenant: str, run_seconds: Sequence[float]) -> None:
        """A client that asks while others of its tenant run, each for a while."""
        milliseconds = round(self._dice.uniform(*run_seconds) * 1000)
        slow = Ask(tenant, f"{tenant} {CHEAP} after:{milliseconds}")
        others = []
        for _ in range(OCCUPANTS[self.kind]):
            others.append(asyncio.create_task(self._talker.chat(slow)))
            await asyncio.sleep(0.1)
        answer = await self._ask(tenant, CHEAP)
        if answer.refused:
            await self._retry(tenant, answer)
        else:
            self.outcome.trials += 1
            self.outcome.never_refused += 1
        await asyncio.gather(*others)

    async def _retry(self, tenant: str, refusal: Answer) -> None:
        outcome = self.outcome
        outcome.trials += 1
        outcome.statuses[refusal.status] += 1
        outcome.untold += refusal.retry_after is None
        outcome.told.append(refusal.retry_after or 0)
        wait = refusal.ended + (refusal.retry_after or 0) - time.monotonic()
        await asyncio.sleep(max(0.0, wait))
        answer = await self._talker.chat(Ask(tenant, f"{tenant} {CHEAP}"))
        outcome.refused_again += answer.refused
        outcome.failed += answer.status not in {200, 429, 503}
        if answer.refused:
            outcome.again[answer.title] += 1

    async def _ask(self, tenant: str, orders: str) -> Answer:
        async with self._gate:
            return await self._talker.chat(Ask(tenant, f"{tenant} {orders}"))


async def campaign(
    running: Deployment,
    trials: int,
    *,
    seed: int = 1,
    run_seconds: Sequence[float] = (0.2, 1.5),
    kinds: Sequence[str] = tuple(LIMITS),
) -> dict[str, Outcome | None]:
    """As many trials in all, in equal parts; None for a kind this build has no limit for."""
    known = [kind for kind in kinds if running.keeps(LIMITS[kind])]
    share = -(-trials // len(known))
    tenants = {
        kind: [f"{kind.replace(' ', '-')}-{number}" for number in range(share)] for kind in known
    }
    made = {tenant: LIMITS[kind] for kind, names in tenants.items() for tenant in names}
    await asyncio.to_thread(running.add_tenants, made)
    gate, dice = asyncio.Semaphore(AT_ONCE), random.Random(seed)  # noqa: S311
    async with client(running) as talker:
        every = {kind: Trials(kind, talker, gate, dice) for kind in known}
        for kind in known:
            await every[kind].run(tenants[kind], run_seconds)
    return {kind: every[kind].outcome if kind in every else None for kind in kinds}


def report(found: Mapping[str, Outcome | None]) -> None:
    """A line for each kind of limit."""
    print(f"{'limit':<18} {'trials':>6} {'refused':>8} {'again':>6} {'failed':>6}  told (s)  by")
    for kind, outcome in found.items():
        if outcome is None:
            print(f"{kind:<18} not in this build")
            continue
        refused = outcome.trials - outcome.never_refused
        told = f"{min(outcome.told)} to {max(outcome.told)}" if outcome.told else "-"
        statuses = ", ".join(map(str, sorted(outcome.statuses))) or "never refused"
        print(
            f"{kind:<18} {outcome.trials:>6} {refused:>8} {outcome.refused_again:>6}"
            f" {outcome.failed:>6}  {told:<8}  {statuses}"
        )
        for title, count in outcome.again.most_common(2):
            print(f"    again {count} x {title}")


def clean(found: Mapping[str, Outcome | None]) -> bool:
    """Whether nobody who waited was refused again."""
    return not any(
        each.refused_again or each.failed or each.untold for each in found.values() if each
    )


def main() -> None:
    """Print the table; exit with 1 when a client that waited was refused again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-seconds", type=float, nargs=2, default=(0.2, 1.5))
    options = parser.parse_args()
    with deployment(options.servers) as running:
        found = asyncio.run(
            campaign(running, options.trials, seed=options.seed, run_seconds=options.run_seconds)
        )
    report(found)
    raise SystemExit(not clean(found))


if __name__ == "__main__":
    main()
