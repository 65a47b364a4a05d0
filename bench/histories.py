"""Random concurrent histories over several server processes: is a token overspent, or not billed?

    python -m bench.histories [--histories 1000] [--servers 4] [--seed 1] [--at-once 24]

Each history is a tenant with small random limits and a random script: chats whole and streamed, in
new threads and old ones, with tools and without, several at once and by two users; clients that
hang up in mid-stream or mid-answer, requests repeated with their Idempotency-Key, limits changed,
the tenant suspended while it runs. Meanwhile servers are killed and started again. At the end
`tenantry reconcile` runs, and three books are laid side by side: what the model counted, what
/v1/usage bills, what /v1/quota says is used.
"""

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.chatting import LOST, Answer, Ask, Books, Client, by_tenant, client
from bench.deployment import Deployment, Limits, deployment
from tenancy.quota import HOLD_SECONDS

USERS = ("alice", "bob")
BUDGETS = ("tokens", "money")  # meters of which `used` + `held` may never exceed `limit`
HISTORIES_A_KILL = 20
LONG_AGO_SECONDS = HOLD_SECONDS + 10.0  # then a dead run's hold is charged
RETRIES = 3
WORST = 8


@dataclass(frozen=True, slots=True)
class Options:
    """Of one campaign."""

    histories: int = 1000
    servers: int = 4
    seed: int = 1
    at_once: int = 24
    quiet_seconds: float = LONG_AGO_SECONDS


@dataclass(slots=True)
class Tally:
    """What happened, and what must not have."""

    histories: int = 0
    requests: int = 0
    disconnects: int = 0  # clients that left while the model worked for them
    kills: int = 0
    cut: int = 0  # requests that a kill cut
    suspensions: int = 0
    changes: int = 0
    overspent: int = 0  # tokens, by the model's count against the day's limit
    overdrawn: int = 0  # tokens, the most that a page of /v1/quota was above its limit
    under_billed: int = 0
    over_billed: int = 0
    drift: int = 0  # of /v1/quota from /v1/usage, either way
    held: int = 0  # still, when all is over
    billed: int = 0
    reconciled: bool = False
    statuses: Counter[int] = field(default_factory=Counter)
    worst: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every claim holds."""
        return not (self.overspent or self.overdrawn or self.under_billed or self.drift)


class History:
    """One tenant's script, made of its own dice: the same seed makes the same script."""

    def __init__(self, name: str, seed: str, tally: Tally) -> None:
        self.name = name
        self.dice = random.Random(seed)  # noqa: S311
        self.tally = tally
        self.limits = _limits(self.dice)
        self.day_limit = int(self.limits["tokens_per_day"])
        self.happened: Counter[str] = Counter()
        self._ceilings: dict[tuple[str, ...], int] = {}
        self._threads: dict[str, list[str]] = {user: [] for user in USERS}
        self._asked = 0

    async def play(self, client: Client) -> None:
        """Every step of the script."""
        self._client = client
        kinds: dict[Callable[[], Coroutine[Any, Any, None]], int] = {
            self._chat: 4,
            self._hang_up: 5,
            self._leave: 2,
            self._crowd: 2,
            self._repeat: 2,
            self._change: 1,
            self._suspend: 1,
        }
        steps = self.dice.choices([*kinds], [*kinds.values()], k=self.dice.randint(4, 10))
        for step in steps:
            await step()
            await self.observe()
        self.tally.histories += 1

    async def observe(self) -> None:
        """Look at /v1/quota: nothing may be above the highest limit that it had."""
        for item in await self._client.standings(self.name, self.dice.choice(USERS)):
            if item["meter"] not in BUDGETS or item["limit"] < 0:
                continue
            key = tuple(str(item.get(part)) for part in ("meter", "period", "level"))
            self._ceilings[key] = most = max(item["limit"], self._ceilings.get(key, 0))
            above = item["used"] + item["held"] - most
            if above > 0:
                self.happened[f"{' '.join(key)} overdrawn"] += above
                self.tally.overdrawn = max(self.tally.overdrawn, above)

    async def _chat(self) -> None:
        await self._ask(stream=self.dice.random() < 0.5)

    async def _hang_up(self) -> None:
        await self._ask(stream=True, hang_up_after=self.dice.choice((0, 1, 2, 3, 5, 8)))

    async def _leave(self) -> None:
        await self._ask(hang_up_after=self.dice.uniform(0.02, 0.4))

    async def _crowd(self) -> None:
        watched = asyncio.create_task(self.observe())
        await asyncio.gather(*(self._chat() for _ in range(self.dice.randint(2, 5))))
        await watched

    async def _repeat(self) -> None:
        """The client leaves, and asks the same again until it is answered."""
        ask = self._next(hang_up_after=self.dice.uniform(0.02, 0.4), key=f"key-{self._asked}")
        await self._send(ask)
        patient = Ask(ask.tenant, ask.message, ask.subject, ask.thread_id, key=ask.key)
        for _ in range(RETRIES):
            if (await self._send(patient)).whole:
                return
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))

    async def _change(self) -> None:
        limit = self.dice.choice((6_000, 12_000, 40_000, 100_000))
        self.day_limit = max(self.day_limit, limit)
        slots = self.dice.randint(1, 4)
        change = self._client.running.change
        await asyncio.to_thread(change, self.name, tokens_per_day=limit, concurrent_runs=slots)
        self.tally.changes += 1

    async def _suspend(self) -> None:
        """Its run is cancelled on the server, which no client can do."""
        chat = asyncio.create_task(self._ask(stream=True))
        await asyncio.sleep(self.dice.uniform(0.05, 0.3))
        suspend = self._client.running.suspend
        await asyncio.to_thread(suspend, self.name, suspended=True)
        await chat
        await asyncio.to_thread(suspend, self.name, suspended=False)
        await asyncio.sleep(1.0)  # within a second everybody knows
        self.happened["suspended"] += 1
        self.tally.suspensions += 1

    async def _ask(self, **how: Any) -> Answer:
        return await self._send(self._next(**how))

    def _next(self, **how: Any) -> Ask:
        self._asked += 1
        user = self.dice.choice(USERS)
        known = self._threads[user]
        thread = self.dice.choice(known) if known and self.dice.random() < 0.5 else None
        orders = f"say:{self.dice.randint(5, 60)} each:{self.dice.randint(2, 10)}"
        tool = " call:current_time" if self.dice.random() < 0.25 else ""
        message = f"{self.name}-{self._asked} {orders} after:{self.dice.randint(0, 150)}{tool}"
        return Ask(self.name, message, user, thread, **how)

    async def _send(self, ask: Ask) -> Answer:
        answer = await self._client.chat(ask)
        self.tally.requests += 1
        if answer.hung_up:
            self.tally.disconnects += 1
            self.happened["left"] += 1
        elif answer.status == LOST or (ask.stream and answer.status == 200 and not answer.whole):
            self.tally.cut += 1
            self.happened["cut"] += 1
        if answer.thread_id is not None:
            self._threads[ask.subject].append(answer.thread_id)
        return answer


def _limits(dice: random.Random) -> Limits:
    return {
        "requests_per_minute": dice.choice((30, 120, 600)),
        "burst": dice.randint(3, 20),
        "concurrent_runs": dice.randint(1, 4),
        "tokens_per_minute": dice.choice((4_000, 10_000, 30_000, 100_000)),
        "tokens_per_day": dice.choice((6_000, 12_000, 40_000, 100_000)),
        "max_output_tokens": dice.choice((16, 32, 64)),
        "user_tokens_per_day": dice.choice((-1, 5_000, 20_000)),
        "user_concurrent_runs": dice.choice((-1, 1, 2)),
        "tokens_per_run": dice.choice((-1, 3_000, 8_000)),
        "queue_seconds": 3,
    }


async def campaign(running: Deployment, options: Options) -> Tally:
    """Play all histories, kill servers meanwhile, then compare the books."""
    tally, began = Tally(), datetime.now(UTC) - timedelta(seconds=1)
    names = [f"h{number:04}" for number in range(options.histories)]
    histories = [History(name, f"{options.seed}/{name}", tally) for name in names]
    await asyncio.to_thread(running.add_tenants, {h.name: h.limits for h in histories})
    async with client(running) as talker:
        killer = asyncio.create_task(_kill(running, tally, random.Random(options.seed)))  # noqa: S311
        await _play(histories, talker, options.at_once)
        killer.cancel()
        with suppress(asyncio.CancelledError):
            await killer
        await asyncio.sleep(options.quiet_seconds)
        tally.reconciled = await asyncio.to_thread(running.reconcile)
        await _compare(histories, talker, began, tally)
        tally.statuses = talker.statuses
    return tally


async def _play(histories: list[History], talker: Client, at_once: int) -> None:
    waiting = iter(histories)

    async def player() -> None:
        for history in waiting:
            await history.play(talker)

    await asyncio.gather(*(player() for _ in range(at_once)))


async def _kill(running: Deployment, tally: Tally, dice: random.Random) -> None:
    """One server after the other, as the histories go on."""
    while True:
        due = (tally.kills + 0.3) * HISTORIES_A_KILL
        if tally.histories < due:
            await asyncio.sleep(0.05)
            continue
        tally.kills += 1
        restart = asyncio.to_thread(running.restart, dice.choice(running.servers))
        await asyncio.shield(asyncio.ensure_future(restart))


async def _compare(histories: list[History], talker: Client, began: datetime, tally: Tally) -> None:
    made = by_tenant(await talker.books())
    findings = []
    for history in histories:
        counted = made.get(history.name, Books())
        billed = await talker.usage(history.name, began)
        await history.observe()
        today = await talker.tokens_today(history.name)
        under, over = counted.beyond(billed), billed.beyond(counted)
        beyond = max(0, counted.total - history.day_limit)
        drift = today.used - billed.total
        tally.billed += billed.total
        tally.under_billed += under
        tally.over_billed += over
        tally.overspent += beyond
        tally.drift += abs(drift)
        tally.held += today.held
        fault = f"overspent {beyond}, under-billed {under}, over-billed {over}, drift {drift:+}"
        text = f"{history.name}: {fault}; {dict(history.happened)}"
        findings.append((beyond + under + abs(drift), text))
    tally.worst = [text for amount, text in sorted(findings, reverse=True)[:WORST] if amount]


def report(tally: Tally) -> None:
    """The counts as lines."""
    print(
        f"{tally.histories} histories, {tally.requests} requests, {tally.disconnects} disconnects,"
        f" {tally.kills} kills that cut {tally.cut} requests, {tally.suspensions} suspensions,"
        f" {tally.changes} changes of limits"
    )
    print("answers      " + ", ".join(f"{n} x {s}" for s, n in sorted(tally.statuses.items())))
    print("reconciled   " + ("yes" if tally.reconciled else "no: this build has no such command"))
    print(f"billed       {tally.billed} tokens")
    for name in ("overspent", "overdrawn", "under_billed", "over_billed", "drift", "held"):
        print(f"{name:<12} {getattr(tally, name)} tokens")
    for line in tally.worst:
        print(f"  {line}")


def main() -> None:
    """Print the counts; exit with 1 when a token was overspent or not billed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("histories", "servers", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Options(), name))
    parser.add_argument("--at-once", type=int, default=Options().at_once)
    parser.add_argument("--quiet-seconds", type=float, default=Options().quiet_seconds)
    options = Options(**vars(parser.parse_args()))
    started = time.monotonic()
    with deployment(options.servers) as running:
        tally = asyncio.run(campaign(running, options))
    report(tally)
    print(f"in           {time.monotonic() - started:.0f} s")
    raise SystemExit(not tally.clean)


if __name__ == "__main__":
    main()
