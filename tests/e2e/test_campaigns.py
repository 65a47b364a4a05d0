"""Slices of the campaigns in `bench/` that try to overspend, to starve and to lose a bill."""

from collections.abc import Iterator

import pytest

from bench import (
    admission_cost,
    histories,
    ingestion_kills,
    noisy_flood,
    redis_outage,
    retry_after,
)
from bench.deployment import Deployment, deployment
from server.stores import Stores
from tenancy.quota import HOLD_SECONDS
from tests.support.stores import Cluster

SLOTS = 4


@pytest.fixture(scope="module")
def running(stores: Stores) -> Iterator[Deployment]:
    """Two servers over a counting model."""
    with deployment(2, stores=stores, TENANTRY_MODEL_SLOTS=SLOTS) as found:
        yield found


async def test_no_history_overspends_or_escapes_its_bill(running: Deployment) -> None:
    options = histories.Options(histories=16, seed=7, at_once=8, quiet_seconds=HOLD_SECONDS + 5)
    tally = await histories.campaign(running, options)
    assert tally.histories == options.histories
    assert tally.disconnects > options.histories
    assert tally.kills
    assert (tally.overspent, tally.overdrawn) == (0, 0), tally.worst
    assert tally.reconciled
    assert (tally.under_billed, tally.drift) == (0, 0), tally.worst


async def test_who_waits_as_long_as_it_is_told_is_not_refused_again(running: Deployment) -> None:
    kinds = ("requests", "burst", "user requests")
    found = await retry_after.campaign(running, 12, kinds=kinds)
    outcomes = [outcome for outcome in found.values() if outcome is not None]
    assert all(outcome.statuses == {429: outcome.trials} for outcome in outcomes)
    assert retry_after.clean(found), found


async def test_quiet_tenants_are_answered_in_a_flood(running: Deployment) -> None:
    options = noisy_flood.Options(seconds=4, slots=SLOTS, quiet=9, flood=10)
    found = await noisy_flood.campaign(running, options)
    assert found.alone.statuses.keys() == {200}
    assert sum(found.flooded.flood.values()) > 10
    assert found.weighs
    assert found.flooded.statuses.keys() == {200}
    phases = (found.flooded, found.equal, found.weighted)
    assert max(phase.in_flight_most for phase in phases) <= SLOTS


async def test_an_admission_is_one_round_trip() -> None:
    found = await admission_cost.measure(1_000, tenants=10, callers=4)
    assert found.refused == 0
    assert found.round_trips == pytest.approx(1, abs=0.01)


async def test_redis_may_die_and_come_back(running: Deployment) -> None:
    options = redis_outage.Options(
        redis_outage.KILLED, seconds=4, quiet=4, greedy=1, before_seconds=2, after_seconds=5
    )
    found = await redis_outage.campaign(running, options)
    assert found.of("quiet")[-1].answer.status == 200
    assert found.overspent == {"greedy-0": 0}
    assert found.reconciled
    assert found.clean, found


async def test_files_are_whole_whoever_is_killed_reading_them(servers: Cluster) -> None:
    with servers.database() as stores:
        found = await ingestion_kills.campaign(stores, kills=4, files=4, passages=120, seed=3)
    assert found.passages >= found.documents * 120
    assert found.sound, found
