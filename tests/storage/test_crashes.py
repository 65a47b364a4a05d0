"""Processes killed at random moments: nothing acknowledged is lost or done twice."""

import asyncio
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.threads import PostgresThreads
from tenancy.ids import ThreadId
from tests.storage.crashing import Log, turn_graph
from tests.storage.graphs import open_turn
from tests.storage.makers import rows, value

KILLS = 20
REPOSITORY = Path(__file__).parent.parent.parent


@dataclass
class Crashed:
    """What the killed processes wrote down, and what the threads hold after each was finished."""

    did: Counter[tuple[str, str]]  # (node or `acknowledged`, question), in all processes
    begun: set[str]  # questions whose effect began before any recovery
    acknowledged: set[str]
    threads: list[ThreadId]
    remembered: Counter[str]  # everything said in any thread, after recovery
    unfinished: list[ThreadId]


@pytest.fixture(scope="module")
async def crashed(
    stores: Stores,
    cells: Cells,
    saver: TenantPostgresSaver,
    threads: PostgresThreads,
    tmp_path_factory: pytest.TempPathFactory,
) -> Crashed:
    log = tmp_path_factory.mktemp("crashes") / "log"
    command = [sys.executable, "-m", "tests.storage.crashing", stores.app_url, stores.redis_url]
    campaign = [*command, str(log), str(KILLS)]
    await asyncio.to_thread(subprocess.run, campaign, cwd=REPOSITORY, check=True, timeout=60)
    before = _lines(log)
    opened = [ThreadId(UUID(what)) for deed, what in before if deed == "opened"]
    distinct = list(dict.fromkeys(opened))
    await rows(cells, "update threads set lease_until = now() returning 1")
    remembered: Counter[str] = Counter()
    unfinished = []
    for thread_id in distinct:
        turn = await open_turn(threads, saver, turn_graph(Log(log)), thread_id=thread_id)
        stored = await saver.for_tenant(turn.lease.tenant_id).aget_tuple(turn.config)
        if stored is None:
            continue  # killed before its effect: the client was told nothing
        state = await turn.run(None)
        await turn.end()
        remembered.update(state["done"])
        agent = turn.graph.copy(update={"checkpointer": saver.for_tenant(turn.lease.tenant_id)})
        if (await agent.aget_state(turn.config)).next:
            unfinished.append(thread_id)
    return Crashed(
        did=Counter(_lines(log)),
        begun={question for deed, question in before if deed == "effect"},
        acknowledged={question for deed, question in before if deed == "acknowledged"},
        threads=distinct,
        remembered=remembered,
        unfinished=unfinished,
    )


def _lines(log: Path) -> list[tuple[str, str]]:
    pairs = (line.split(" ") for line in log.read_text().splitlines())
    return [(deed, what) for deed, what in pairs]


def test_the_campaign_is_worth_its_name(crashed: Crashed) -> None:
    assert len(crashed.acknowledged) >= KILLS
    assert crashed.begun - crashed.acknowledged  # some died between effect and answer


def test_no_message_is_lost_once_its_effect_has_begun(crashed: Crashed) -> None:
    assert [question for question in crashed.begun if crashed.remembered[question] != 1] == []


def test_no_effect_of_an_acknowledged_turn_happens_twice(crashed: Crashed) -> None:
    assert [q for q in crashed.acknowledged if crashed.did["effect", q] != 1] == []


def test_every_acknowledged_answer_is_stored_once(crashed: Crashed) -> None:
    answers = [f"effect-of-{question}" for question in crashed.acknowledged]
    assert [answer for answer in answers if crashed.remembered[answer] != 1] == []


def test_nothing_paid_for_is_paid_again_once_the_next_node_has_begun(crashed: Crashed) -> None:
    assert [q for q in crashed.begun if crashed.did["think", q] != 1] == []


def test_every_stored_turn_can_be_finished(crashed: Crashed) -> None:
    assert crashed.unfinished == []


async def test_the_usage_of_an_acknowledged_turn_is_counted_once(
    crashed: Crashed, cells: Cells
) -> None:
    runs = [UUID(question.removeprefix("q-")) for question in crashed.acknowledged]
    counted = "select count(*) from usage_events where run_id = any(%(runs)s)"
    assert await value(cells, counted, runs=runs) == len(runs)
