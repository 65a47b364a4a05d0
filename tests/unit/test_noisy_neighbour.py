"""What `bench noisy-neighbour` computes, sends and draws, without a server."""

import asyncio
import json
import math
import sys
from http import HTTPStatus
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from server.cli.benchmarks import require_ours
from server.noisy_neighbour import report
from server.noisy_neighbour.latency import NO_ANSWER, Answer, Tally, percentile
from server.noisy_neighbour.load import REFUSED_PAUSE_SECONDS, come_at_a_rate, flood
from server.noisy_neighbour.machine import Ticks, busy_share, ticks
from server.noisy_neighbour.phases import ALONE, LIMITED, OFF, PHASES, QUEUE, ROOMY, Outcome
from server.noisy_neighbour.picture import draw
from tenancy.errors import Invalid
from tenancy.ids import PlanId
from tenancy.plan import COMMON_LINE, FREE, LIMITS, RANGES, UNLIMITED, new_plan


class Clock:
    """A time that passes when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


def tally(*milliseconds: float, refused: int = 0, unavailable: int = 0, lost: int = 0) -> Tally:
    answers = [Answer(HTTPStatus.OK, each / 1000) for each in milliseconds]
    answers += [Answer(HTTPStatus.TOO_MANY_REQUESTS, 0.001)] * refused
    answers += [Answer(HTTPStatus.SERVICE_UNAVAILABLE, 0.001)] * unavailable
    answers += [Answer(NO_ANSWER, 60.0)] * lost
    return Tally(answers, 2.0)


def outcomes(
    alone: float = 40, off: float = 800, queue: float = 50, limits: float = 45
) -> list[Outcome]:
    return [
        Outcome(phase, tally(value, value * 1.1), tally(900.0), busy=0.5)
        for phase, value in zip(
            (ALONE, OFF, QUEUE, LIMITED), (alone, off, queue, limits), strict=True
        )
    ]


# Figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0.5, 1), (99.5, 100)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    values = [float(each) for each in range(100, 0, -1)]
    assert percentile(values, percent) == expected


def test_of_a_few_values_the_99th_percentile_is_the_greatest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert math.isnan(percentile([], 99))


def test_answers_are_counted_by_how_they_ended() -> None:
    counted = tally(10, 20, 30, refused=4, unavailable=2, lost=1)
    assert (counted.requests, counted.answered, counted.per_second) == (10, 3, 1.5)
    assert (counted.over_limit, counted.unavailable, counted.failed) == (4, 2, 1)


def test_a_refusal_is_no_short_latency() -> None:
    assert tally(10, 20, 30, refused=50).milliseconds(50) == 20


# Load ----------------------------------------------------------------------------------------


async def test_the_quiet_tenant_is_timed_from_when_it_was_due() -> None:
    """A stall of ten seconds is felt by every question that came due meanwhile."""
    clock, asked = Clock(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked == 1:
            clock.now += 10
        return 200

    answers = await come_at_a_rate(ask, rate=2, seconds=4, clock=clock, pause=clock.pause)
    assert [each.seconds for each in answers] == [10, 9.5, 9, 8.5, 8, 7.5, 7, 6.5]


async def test_the_quiet_tenant_waits_for_no_answer_before_it_asks_again() -> None:
    clock, release, asked = Clock(), asyncio.Event(), []

    async def ask() -> int:
        asked.append(clock.now)
        if len(asked) == 5:
            release.set()
        await release.wait()
        return 200

    answers = await come_at_a_rate(ask, rate=1, seconds=5, clock=clock, pause=clock.pause)
    assert len(answers) == len(asked) == 5


async def test_a_flood_ends_when_it_is_over() -> None:
    over, asked = asyncio.Event(), 0

    async def ask() -> int:
        nonlocal asked
        asked += 1
        if asked == 30:
            over.set()
        await asyncio.sleep(0)
        return 200

    answers = await flood(ask, over, callers=4, most=1000)
    assert 30 <= len(answers) <= 33


async def test_a_flood_ends_after_so_many_requests() -> None:
    async def ask() -> int:
        await asyncio.sleep(0)
        return 200

    assert len(await flood(ask, asyncio.Event(), callers=7, most=50)) == 50


async def test_a_caller_who_is_refused_pauses_before_it_asks_again() -> None:
    clock, statuses = Clock(), iter([200, 429, 503, NO_ANSWER, 200])

    async def ask() -> int:
        return next(statuses)

    await flood(ask, asyncio.Event(), callers=1, most=5, clock=clock, pause=clock.pause)
    assert clock.pauses == [REFUSED_PAUSE_SECONDS] * 3


# The machine ---------------------------------------------------------------------------------


def test_how_busy_the_machine_was_is_read_from_the_kernel(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n")
    assert ticks(stat) == Ticks(150, 1000)
    assert busy_share(Ticks(150, 1000), Ticks(240, 1100)) == 0.9
    assert ticks(tmp_path / "none") is None
    assert busy_share(None, Ticks(1, 2)) is None


# Phases --------------------------------------------------------------------------------------


def test_without_protection_nothing_is_limited_and_nobody_has_a_line_of_their_own() -> None:
    plan = new_plan(PlanId("open"), OFF.noisy)
    assert plan.weight == COMMON_LINE
    assert {getattr(plan, name) for name in LIMITS if name not in RANGES} == {UNLIMITED}
    assert OFF.quiet == OFF.noisy


def test_with_limits_too_the_noisy_tenant_is_admitted_as_on_the_free_plan() -> None:
    """Its budgets are not: what the flood spent before would refuse it for the rest of the day."""
    plan = new_plan(FREE.plan_id, LIMITED.noisy)
    assert (plan.requests_per_minute, plan.burst, plan.concurrent_runs) == (20, 5, 2)
    assert plan.tokens_per_day == UNLIMITED
    assert LIMITED.quiet == ROOMY


def test_a_change_of_phase_shows_in_the_request_rate() -> None:
    """By which the bench sees that a server goes by it."""
    rates = [each.noisy["requests_per_minute"] for each in PHASES[1:]]
    assert len(set(rates)) == len(rates)


# Reports -------------------------------------------------------------------------------------


def test_the_verdict_is_a_ratio() -> None:
    assert report.verdict(outcomes()) == (
        "Flooded, the quiet tenant's p95 is 880 ms unprotected and 55 ms with the fair queue: "
        "16 × shorter (18 × shorter with limits too). Alone it is 44 ms."
    )
    assert report.times(0.5) == "2.0 × longer"


def test_the_table_has_both_tenants_of_each_phase() -> None:
    page = StringIO()
    Console(file=page, width=100).print(report.table(outcomes()))
    lines = [line.split() for line in page.getvalue().splitlines() if line.strip()]
    assert lines[0][:7] == ["phase", "tenant", "asked", "ok/s", "429", "503", "failed"]
    assert lines[2] == ["alone", "quiet", "2", "1.0", "0", "0", "0", "40", "44", "44", "44"]
    firsts = ["unprotected", "noisy", "fair", "noisy", "queue", "noisy"]
    assert [line[0] for line in lines[3:]] == firsts


def test_without_answers_there_is_no_ratio() -> None:
    found = outcomes()
    found[1] = Outcome(OFF, tally(lost=3), tally(), busy=None)
    assert "nothing to compare" in report.verdict(found)
    written = json.loads(json.dumps(report.as_json(found), allow_nan=False))
    assert written["phases"][1]["quiet"]["p95_ms"] is None
    assert written["shorter_by"] == {"fair_queue": None, "limits": None}


def test_a_crowded_machine_and_a_refused_quiet_tenant_are_warned_of() -> None:
    found = outcomes()
    assert report.warnings(found) == []
    found[2] = Outcome(QUEUE, tally(10, refused=2), tally(), busy=0.95)
    crowded, refused = report.warnings(found)
    assert "over 90% busy (fair queue)" in crowded
    assert "refused 2 times" in refused


@pytest.mark.parametrize("lost", [False, True])
def test_the_picture_is_a_png(tmp_path: Path, lost: bool) -> None:
    path = tmp_path / "drawn.png"
    found = outcomes()
    if lost:
        found[1] = Outcome(OFF, tally(lost=3), tally(), busy=None)
    draw(found, path, caption="24 callers")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000


def test_without_matplotlib_there_is_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ImportError):
        draw(outcomes(), tmp_path / "drawn.png", caption="")


# Whose server --------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.8.9.1", "http://[::1]:8000"])
def test_a_server_on_loopback_may_be_flooded(url: str) -> None:
    require_ours(url, owned=False)


@pytest.mark.parametrize(
    "url", ["http://192.168.1.7:8000", "http://[2001:db8::1]", "http://0.0.0.0"]
)
def test_one_elsewhere_must_be_ones_own(url: str) -> None:
    with pytest.raises(Invalid, match="The request") as refused:
        require_ours(url, owned=False)
    assert refused.value.field == "--i-own-this-deployment"
    require_ours(url, owned=True)
