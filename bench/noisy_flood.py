"""One tenant floods: how long do the others wait for the model, and who gets how much of it?

    python -m bench.noisy_flood [--seconds 60] [--slots 4] [--quiet 19] [--servers 2]

The model takes 200 ms a call, and the deployment may make `--slots` calls at once. Quiet tenants
ask at a low rate: alone first, then while one tenant without a rate limit asks at 100 times its
share, open loop. A wait is from when a question was due to be sent until the model has its prompt.
Then tenants that always have more to ask than they get: equal ones with calls of different sizes,
and ones with the weights 1, 2 and 4. What they were served is what the model counted.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from bench.chatting import Ask, Client, Json, client, percentile
from bench.deployment import Deployment, Limits, deployment

SERVICE_SECONDS = 0.2
FLOOD = 100  # times the share
BUSY_MOST = 0.7
QUIET_LOAD = 0.25  # of a quiet tenant's share, which it asks for
OUTSTANDING_MOST = 2_000  # questions of the flood; more only measure this client
CALLERS = 8  # of each backlogged tenant
SIZES = (10, 40, 80, 160)  # tokens that the equal tenants' answers have
WEIGHTS = (1, 2, 4)
JAIN_LEAST, WEIGHT_ERROR_MOST, IDLE_MOST = 0.98, 0.05, 0.15
SETTLING_SECONDS = 2.0
ORDERS = f"after:{round(SERVICE_SECONDS * 1000)}"


@dataclass(frozen=True, slots=True)
class Options:
    """Of one campaign."""

    seconds: float = 60
    slots: int = 4
    quiet: int = 19
    servers: int = 2
    flood: int = FLOOD

    @property
    def share(self) -> float:
        """Questions a second, when all tenants get the same of the model."""
        return self.slots / SERVICE_SECONDS / (self.quiet + 1)


@dataclass(slots=True)
class Phase:
    """What the quiet tenants saw for a while."""

    waits: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    flood: Counter[int] = field(default_factory=Counter)
    withheld: int = 0  # questions that the flood had no room to ask
    busy: float = 0.0  # share of the machine
    ours: float = 0.0  # of it, by the servers, Redis and the model
    in_flight_most: int = 0

    @property
    def p99(self) -> float:
        """Of the wait."""
        return percentile(self.waits, 0.99)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What tenants were served who always wanted more."""

    served: Mapping[str, int]
    idle: float  # share of the slots' time, as the model saw it
    in_flight_most: int

    @property
    def jain(self) -> float:
        """1 when all were served alike, 1/n when one was served alone."""
        figures = [*self.served.values()]
        squares = sum(figure * figure for figure in figures)
        return sum(figures) ** 2 / (len(figures) * squares) if squares else 0.0

    def weight_error(self, weights: Mapping[str, int]) -> float:
        """The furthest that a tenant's part is from its weight's, as a share of it."""
        total, whole = sum(self.served.values()) or 1, sum(weights.values())
        parts = [self.served[name] / total * whole / weights[name] for name in weights]
        return max(abs(part - 1) for part in parts)


@dataclass(frozen=True, slots=True)
class Findings:
    """Of the campaign."""

    options: Options
    alone: Phase
    flooded: Phase
    equal: Backlog
    weighted: Backlog
    weights: Mapping[str, int]
    weighs: bool  # whether this build stores weights

    @property
    def bound(self) -> float:
        """The longest the quiet may wait in the flood, at p99."""
        return 1.5 * self.alone.p99 + SERVICE_SECONDS

    def broken(self) -> list[str]:
        """The claims that do not hold."""
        error = self.weighted.weight_error(self.weights)
        most = max(each.in_flight_most for each in (self.flooded, self.equal, self.weighted))
        claims = {
            "quiet tenants are never refused": set(self.flooded.statuses) <= {200},
            "p99 of their wait is within its bound": self.flooded.p99 <= self.bound,
            "equals are served alike": self.equal.jain >= JAIN_LEAST,
            "weights are heeded": error <= WEIGHT_ERROR_MOST,
            "no slot is idle": max(self.equal.idle, self.weighted.idle) <= IDLE_MOST,
            "no call is made beyond the slots": most <= self.options.slots,
            "the machine was not the bottleneck": self.flooded.busy < BUSY_MOST,
        }
        return [claim for claim, holds in claims.items() if not holds]


class Load:
    """Asks questions, and knows when each was due."""

    def __init__(self, talker: Client) -> None:
        self._talker = talker
        self._due: dict[str, float] = {}
        self._asked = 0

    async def quiet(self, tenants: Sequence[str], rate: float, seconds: float) -> Phase:
        """Each tenant asks `rate` times a second, not all in the same instant."""
        phase, began = Phase(), time.monotonic()
        psutil.cpu_percent()
        spent = sum(self._talker.running.cpu_seconds().values())
        async with asyncio.TaskGroup() as group:
            for number, tenant in enumerate(tenants):
                first = number / len(tenants) / rate
                group.create_task(self._steady(phase, tenant, first, rate, seconds))
        phase.busy = psutil.cpu_percent() / 100
        spent = sum(self._talker.running.cpu_seconds().values()) - spent
        phase.ours = spent / (time.monotonic() - began) / (psutil.cpu_count() or 1)
        await self._fill(phase, began)
        return phase

    async def flood(self, tenant: str, rate: float, phase: Phase, over: asyncio.Event) -> None:
        """Ask on and on, whatever is answered."""
        began, due, asked = time.monotonic(), 0, set[asyncio.Task[None]]()

        async def one() -> None:
            answer = await self._talker.chat(self._next(tenant, 10))
            phase.flood[answer.status] += 1

        while not over.is_set():
            before, due = due, int((time.monotonic() - began) * rate)
            room = min(due - before, OUTSTANDING_MOST - len(asked))
            phase.withheld += due - before - room
            for _ in range(room):
                task = asyncio.create_task(one())
                asked.add(task)
                task.add_done_callback(asked.discard)
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)

    async def backlogged(
        self, sizes: Mapping[str, int], slots: int, seconds: float, callers: int = CALLERS
    ) -> Backlog:
        """Each tenant has `callers` who ask again as soon as they are answered."""
        over = asyncio.Event()

        async def caller(tenant: str) -> None:
            while not over.is_set():
                answer = await self._talker.chat(self._next(tenant, sizes[tenant]))
                if not answer.whole:
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for tenant in sizes:
                for _ in range(callers):
                    group.create_task(caller(tenant))
            await asyncio.sleep(SETTLING_SECONDS)
            began = time.monotonic()
            await asyncio.sleep(seconds)
            ended = time.monotonic()
            over.set()
        entries = await self._talker.books()
        return _backlog([e for e in entries if e["tenant"] in sizes], sizes, slots, began, ended)

    async def _steady(
        self, phase: Phase, tenant: str, first: float, rate: float, seconds: float
    ) -> None:
        began = time.monotonic()

        async def one(due: float) -> None:
            ask = self._next(tenant, 10)
            self._due[ask.message.split()[0]] = due
            phase.statuses[(await self._talker.chat(ask)).status] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(int((seconds - first) * rate)):
                due = began + first + number / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(one(due))

    def _next(self, tenant: str, tokens: int) -> Ask:
        self._asked += 1
        return Ask(tenant, f"{tenant}.{self._asked} say:{tokens} {ORDERS}")

    async def _fill(self, phase: Phase, began: float) -> None:
        """What the model saw of it; a question that it never saw counts by its refusal."""
        entries = await self._talker.books()
        arrived: dict[str, float] = {}
        for entry in entries:
            arrived.setdefault(entry["name"], entry["arrived"])
        own = {name: due for name, due in self._due.items() if due >= began}
        phase.waits = [arrived[name] - due for name, due in own.items() if name in arrived]
        phase.in_flight_most = _in_flight(entries, 0, began, float("inf"))[1]


async def campaign(running: Deployment, options: Options) -> Findings:
    """All phases."""
    quiet = [f"calm-{number}" for number in range(options.quiet)]
    sizes = {f"equal-{number}": size for number, size in enumerate(SIZES)}
    weights = {f"weight-{weight}": weight for weight in WEIGHTS}
    made: dict[str, Limits] = {name: {"weight": 1} for name in (*quiet, *sizes, "noisy")}
    made |= {name: {"weight": weight} for name, weight in weights.items()}
    await asyncio.to_thread(running.add_tenants, made)
    async with client(running) as talker:
        load = Load(talker)
        rate = QUIET_LOAD * options.share
        await load.quiet(quiet, rate, SETTLING_SECONDS / rate)  # warm up
        alone = await load.quiet(quiet, rate, options.seconds)
        flooded = await _flooded(load, quiet, rate, options)
        equal = await load.backlogged(sizes, options.slots, options.seconds / 2)
        same = dict.fromkeys(weights, 40)
        callers = max(CALLERS, 2 * options.slots)
        weighted = await load.backlogged(same, options.slots, options.seconds / 2, callers)
    weighs = await asyncio.to_thread(running.keeps, {"weight": 2})
    return Findings(options, alone, flooded, equal, weighted, weights, weighs)


async def _flooded(load: Load, quiet: Sequence[str], rate: float, options: Options) -> Phase:
    over, noise = asyncio.Event(), Phase()
    flood = asyncio.create_task(load.flood("noisy", options.flood * options.share, noise, over))
    await asyncio.sleep(SETTLING_SECONDS)
    phase = await load.quiet(quiet, rate, options.seconds)
    over.set()
    await flood
    phase.flood, phase.withheld = noise.flood, noise.withheld
    return phase


def _backlog(
    entries: Sequence[Json], sizes: Mapping[str, int], slots: int, began: float, ended: float
) -> Backlog:
    served = dict.fromkeys(sizes, 0)
    for entry in entries:
        if began <= entry["ended"] < ended:
            served[entry["tenant"]] += entry["input_tokens"] + entry["output_tokens"]
    used, most = _in_flight(entries, slots, began, ended)
    return Backlog(served, 1 - used / (slots * (ended - began)), most)


def _in_flight(
    entries: Sequence[Json], slots: int, began: float, ended: float
) -> tuple[float, int]:
    """Seconds of slots in use from `began` to `ended`, and the most calls at once."""
    steps = [(entry["arrived"], 1) for entry in entries]
    steps += [(entry["ended"], -1) for entry in entries if entry["ended"]]
    used, most, now, at = 0.0, 0, 0, began
    for instant, change in sorted(steps):
        if instant > ended:
            break
        if instant > at:
            used += min(now, slots) * (instant - at)
            at = instant
        now += change
        most = max(most, now) if instant >= began else most
    if ended != float("inf"):
        used += min(now, slots) * (ended - at)
    return used, most


def report(findings: Findings) -> None:
    """Every figure, and the claims that do not hold."""
    options = findings.options
    print(f"{options.slots} slots, {SERVICE_SECONDS} s a call, {options.servers} servers,")
    print(f"{options.quiet} quiet tenants at {QUIET_LOAD * options.share:.2f} questions a second,")
    print(f"one noisy at {options.flood * options.share:.0f} a second")
    print(
        f"{'':10} {'asked':>6} {'p50':>7} {'p99':>7} {'busy':>5} {'ours':>5}  quiet were answered"
    )
    for name, phase in (("alone", findings.alone), ("flooded", findings.flooded)):
        print(
            f"{name:10} {sum(phase.statuses.values()):>6} {percentile(phase.waits, 0.5):>6.3f}s"
            f" {phase.p99:>6.3f}s {phase.busy:>5.0%} {phase.ours:>5.0%}  {_listed(phase.statuses)}"
        )
    ratio = findings.flooded.p99 / findings.alone.p99
    print(f"ratio {ratio:.2f}; at most {findings.bound:.3f} s allowed")
    print(f"the noisy were answered {_listed(findings.flooded.flood)}", end="")
    print(f"; {findings.flooded.withheld} more had no room in this client")
    equal, weighted = findings.equal, findings.weighted
    print(f"equal      Jain {equal.jain:.4f}, idle {equal.idle:.1%}, served {equal.served}")
    error = weighted.weight_error(findings.weights)
    known = "" if findings.weighs else " (this build has no weights)"
    print(f"weights    {error:.1%} off at most, idle {weighted.idle:.1%}, {weighted.served}{known}")
    most = [each.in_flight_most for each in (findings.flooded, equal, weighted)]
    print(f"in flight  at most {most} in the flood, of equals, of weights")
    for claim in findings.broken():
        print(f"NOT SO: {claim}")


def _listed(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))


def main() -> None:
    """Print the figures; exit with 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=Options().seconds)
    for name in ("slots", "quiet", "servers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Options(), name))
    options = Options(**vars(parser.parse_args()))
    with deployment(options.servers, TENANTRY_MODEL_SLOTS=options.slots) as running:
        findings = asyncio.run(campaign(running, options))
    report(findings)
    raise SystemExit(bool(findings.broken()))


if __name__ == "__main__":
    main()
