"""A model that fails is replaced by the next the plan allows; what was lost is paid for once."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from graph.budget import prompt_bound
from graph.models import Answer, ask
from server.endpoints import EndpointSettings
from server.models import DeploymentModels
from tenancy.audit import Outcome
from tenancy.breaker import FAILURES
from tenancy.errors import BreakerOpen, ModelFailed, ModelTimeout, QuotaExceeded
from tenancy.ids import TenantId
from tenancy.usage import Tokens
from tests.support.house import settings_of
from tests.support.model_server import ModelServer, Reply
from tests.unit.graph.turn import ACME, RecordingSlot, RecordingTurn

FIRST, SECOND, THIRD = "scripted", "backup/small", "spare/tiny"
QUESTION = [HumanMessage("Where is my order?")]
MAX_TOKENS = 500
USAGE = Tokens(7, 3)
YES = Reply.text("Yes.", usage=(USAGE.input_tokens, USAGE.output_tokens))


@dataclass(frozen=True, slots=True)
class Farm:
    """Three endpoints, and the models of a deployment that knows them."""

    default: ModelServer
    backup: ModelServer
    spare: ModelServer
    models: DeploymentModels


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[list[ModelServer]]:
    async with ModelServer() as default, ModelServer() as backup, ModelServer() as spare:
        yield [default, backup, spare]


@pytest.fixture
async def farm(running: list[ModelServer], tmp_path: Path) -> AsyncIterator[Farm]:
    for server in running:
        server.forget()
        server.default = YES
    models = models_of(*running, folder=tmp_path)
    yield Farm(*running, models)
    await models.aclose()


@pytest.fixture
async def impatient(farm: Farm, tmp_path: Path) -> AsyncIterator[Farm]:
    servers = farm.default, farm.backup, farm.spare
    models = models_of(*servers, folder=tmp_path, timeout_seconds=0.5)
    yield replace(farm, models=models)
    await models.aclose()


def models_of(
    default: ModelServer,
    backup: ModelServer,
    spare: ModelServer,
    *,
    folder: Path,
    timeout_seconds: float = 30,
) -> DeploymentModels:
    endpoints = {
        "backup": EndpointSettings(base_url=backup.base_url),
        "spare": EndpointSettings(base_url=spare.base_url),
    }
    return DeploymentModels(
        settings_of(folder, default, endpoints=endpoints, model_timeout=timeout_seconds)
    )


def turn_of(
    tenant: str = "acme", fallbacks: tuple[str, ...] = (SECOND, THIRD), allowed: str = "all"
) -> RecordingTurn:
    plan = replace(ACME.plan, models=(allowed,), fallback_models=fallbacks)
    return RecordingTurn(tenant=replace(ACME, tenant_id=TenantId(tenant), plan=plan))


async def answer(turn: RecordingTurn, farm: Farm, model: str | None = None) -> Answer:
    return await ask(
        turn,
        QUESTION,
        [],
        call=0,
        models=farm.models,
        tools=[],
        max_tokens=MAX_TOKENS,
        model=model,
    )


class _State(TypedDict):
    answer: Any


async def streamed(turn: RecordingTurn, farm: Farm) -> tuple[list[str], Answer | ModelFailed]:
    """What a reader of the stream saw, and how it ended."""

    async def respond(_state: _State) -> _State:
        return {"answer": await answer(turn, farm)}

    graph = StateGraph(_State).add_node("respond", respond).add_edge(START, "respond").compile()
    seen: list[str] = []
    ended: Any = None
    try:
        async for kind, part in graph.astream({"answer": None}, stream_mode=["messages", "values"]):
            if kind == "values":
                ended = part["answer"]
            elif isinstance(part[0], AIMessageChunk) and part[0].text:
                seen.append(part[0].text)
    except ModelFailed as failure:
        ended = failure
    return seen, ended


PASSING = {
    "500": Reply.error(500),
    "429": Reply.error(429, retry_after=30),
    "nonsense": Reply.raw(200, "{}"),
}


def bound_of(turn: RecordingTurn) -> int:
    return prompt_bound(turn.tenant, QUESTION, [])


class TestTheNextOneAnswers:
    @pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING)
    async def test_where_the_first_one_fails(self, farm: Farm, reply: Reply) -> None:
        farm.default.script(reply)
        turn = turn_of()
        said = await answer(turn, farm)
        assert (said.message.text, said.model) == ("Yes.", SECOND)
        assert turn.settled == [(0, USAGE, SECOND)]
        assert turn.asked == [(0, SECOND, 0)]
        assert turn.slots == [(FIRST, 0), (SECOND, USAGE.total)]
        assert turn.actions == [("model.fall_back", SECOND, Outcome.ALLOWED)]
        assert turn.attributes == [{"instead_of": FIRST}]
        assert farm.backup.chat_requests[0]["model"] == "small"
        assert farm.spare.chat_requests == []
        assert turn.forfeited == []

    async def test_where_the_first_one_is_silent(self, impatient: Farm) -> None:
        impatient.default.script(Reply.hang())
        assert (await answer(turn_of(), impatient)).model == SECOND

    async def test_where_the_first_endpoint_is_gone(self, farm: Farm, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            gone = ModelServer(port=taken.getsockname()[1])
            models = models_of(gone, farm.backup, farm.spare, folder=tmp_path)
            said = await answer(turn_of(), replace(farm, models=models))
            await models.aclose()
        assert said.model == SECOND

    async def test_where_two_fail(self, farm: Farm) -> None:
        farm.default.script(Reply.error(500))
        farm.backup.script(Reply.error(503))
        turn = turn_of()
        assert (await answer(turn, farm)).model == THIRD
        assert turn.attributes == [{"instead_of": FIRST}]

    async def test_of_those_that_the_plan_and_the_budget_allow(self, farm: Farm) -> None:
        farm.default.default = Reply.error(500)
        with pytest.raises(ModelFailed, match="answered 500"):
            await answer(turn_of(allowed="default"), farm)
        turn = turn_of()
        turn.may = lambda model: model == THIRD
        assert (await answer(turn, farm)).model == THIRD
        assert farm.backup.chat_requests == []

    async def test_of_the_model_that_the_caller_wants(self, farm: Farm) -> None:
        turn = turn_of(fallbacks=(SECOND, FIRST))
        assert (await answer(turn, farm, model=SECOND)).model == SECOND
        assert (turn.asked, turn.actions) == ([], [])
        farm.backup.script(Reply.error(500))
        assert (await answer(turn, farm, model=SECOND)).model == FIRST

    async def test_and_a_stream_shows_only_its_answer(self, farm: Farm) -> None:
        farm.default.script(Reply.error(500))
        seen, said = await streamed(turn_of(), farm)
        assert isinstance(said, Answer)
        assert ("".join(seen), said.message.text, said.model) == ("Yes.", "Yes.", SECOND)


class TestNobodyElseIsAsked:
    @pytest.mark.parametrize("status", [400, 401, 404])
    async def test_about_a_request_that_was_found_wrong(self, farm: Farm, status: int) -> None:
        farm.default.script(Reply.error(status))
        with pytest.raises(ModelFailed, match=f"answered {status}"):
            await answer(turn_of(), farm)
        assert farm.backup.chat_requests == []

    async def test_when_all_fail_and_the_first_failure_is_told(self, impatient: Farm) -> None:
        farm = impatient
        farm.default.script(Reply.hang())
        farm.backup.script(Reply.error(500))
        farm.spare.script(Reply.error(503))
        turn = turn_of()
        with pytest.raises(ModelTimeout):
            await answer(turn, farm)
        assert turn.settled == []
        assert turn.slots == [(FIRST, 0), (SECOND, 0), (THIRD, 0)]

    async def test_once_a_reader_saw_part_of_an_answer(self, farm: Farm) -> None:
        farm.default.script(Reply.paced(0.01, Reply.truncated_stream(after=3)))
        turn = turn_of()
        seen, failure = await streamed(turn, farm)
        assert isinstance(failure, ModelFailed)
        assert failure.began
        assert "".join(seen) == "The scripted "
        lost = Tokens(bound_of(turn), 1 + len("The scripted "))
        assert turn.settled == [(0, lost, FIRST)]
        assert turn.slots == [(FIRST, lost.total)]
        assert farm.backup.chat_requests == []


class TestWhatIsLostOnTheWay:
    async def test_a_stream_that_broke_off_unseen_is_paid_with_the_answer(self, farm: Farm) -> None:
        farm.default.script(Reply.truncated_stream(after=1))  # its role
        turn = turn_of()
        seen, said = await streamed(turn, farm)
        assert isinstance(said, Answer)
        assert ("".join(seen), said.model) == ("Yes.", SECOND)
        lost = Tokens(bound_of(turn), 1)
        assert turn.asked == [(0, SECOND, lost.total)]
        assert turn.settled == [(0, lost + USAGE, SECOND)]

    async def test_half_an_answer_counts_as_the_longest(self, farm: Farm) -> None:
        farm.default.script(Reply.truncated_stream())
        turn = turn_of()
        await answer(turn, farm)
        assert turn.settled == [(0, Tokens(bound_of(turn), MAX_TOKENS) + USAGE, SECOND)]

    async def test_it_is_paid_also_where_nobody_answers(self, farm: Farm) -> None:
        farm.default.script(Reply.truncated_stream())
        farm.backup.script(Reply.error(500))
        farm.spare.script(Reply.error(500))
        turn = turn_of()
        with pytest.raises(ModelFailed, match="broke off"):
            await answer(turn, farm)
        assert turn.settled == [(0, Tokens(bound_of(turn), MAX_TOKENS), FIRST)]
        assert turn.forfeited == []

    async def test_a_call_that_is_cancelled_forfeits_its_hold(self, farm: Farm) -> None:
        farm.default.hold()
        turn = turn_of()
        call = asyncio.create_task(answer(turn, farm))
        await farm.default.wait_in_flight(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (turn.forfeited, turn.settled) == ([(0, FIRST)], [])
        assert turn.slots == [(FIRST, None)]

    async def test_a_call_that_only_waited_forfeits_nothing(self, farm: Farm) -> None:
        turn = Queueing(tenant=turn_of().tenant)
        call = asyncio.create_task(answer(turn, farm))
        await turn.waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (turn.forfeited, turn.settled) == ([], [])

    async def test_what_was_lost_is_forfeited_by_who_waits_for_the_next(self, farm: Farm) -> None:
        farm.default.script(Reply.truncated_stream())
        turn = Queueing(tenant=turn_of().tenant, full=SECOND)
        with pytest.raises(QuotaExceeded):
            await answer(turn, farm)
        assert (turn.forfeited, turn.settled) == ([(0, FIRST)], [])


class Queueing(RecordingTurn):
    """A turn whose slots are taken for ever, or, but for those of `full`, free."""

    def __init__(self, tenant: Any, full: str | None = None) -> None:
        super().__init__(tenant=tenant)
        self.waiting = asyncio.Event()
        self.full = full

    @asynccontextmanager
    async def slot(self, call: int, model: str) -> AsyncIterator[RecordingSlot]:
        if self.full is None:
            self.waiting.set()
            await asyncio.Event().wait()
        if model == self.full:
            raise QuotaExceeded("queue", timedelta(seconds=1))
        yield RecordingSlot()


class TestBreakers:
    async def test_a_model_that_keeps_failing_is_not_asked_again(self, farm: Farm) -> None:
        farm.default.default = Reply.error(500)
        for _ in range(FAILURES + 3):
            assert (await answer(turn_of(), farm)).model == SECOND
        assert len(farm.default.chat_requests) == FAILURES
        assert (await answer(turn_of("globex"), farm)).model == SECOND
        assert len(farm.default.chat_requests) == FAILURES + 1
        assert farm.models.breakers.open() == {FIRST: 1}

    async def test_when_none_may_be_asked_one_is_told_when(self, farm: Farm) -> None:
        farm.default.default = Reply.error(429, retry_after=40)
        farm.backup.default = Reply.error(429, retry_after=20)
        for _ in range(FAILURES):
            with pytest.raises(ModelFailed, match="answered 429"):
                await answer(turn_of(fallbacks=(SECOND,)), farm)
        turn = turn_of(fallbacks=(SECOND,))
        with pytest.raises(BreakerOpen) as caught:
            await answer(turn, farm)
        assert (
            timedelta(seconds=10)
            < (caught.value.retry_after or timedelta())
            <= timedelta(seconds=20)
        )
        assert (turn.slots, turn.settled, turn.forfeited) == ([], [], [])

    async def test_a_breaker_that_opens_while_one_waits_for_a_slot_is_obeyed(
        self, farm: Farm
    ) -> None:
        farm.default.default = Reply.error(500)
        turns = [turn_of() for _ in range(FAILURES)]
        late = Late(turn_of().tenant)
        waiting = asyncio.create_task(answer(late, farm))
        await late.waiting.wait()
        for turn in turns:
            await answer(turn, farm)
        late.go.set()
        assert (await waiting).model == SECOND
        assert len(farm.default.chat_requests) == FAILURES

    async def test_an_answer_in_between_keeps_it_closed(self, farm: Farm) -> None:
        for _ in range(3):
            farm.default.script(*[Reply.error(500)] * (FAILURES - 1), YES)
            said = [(await answer(turn_of(), farm)).model for _ in range(FAILURES)]
            assert said == [SECOND] * (FAILURES - 1) + [FIRST]


class Late(RecordingTurn):
    """A turn whose first slot is free when it is told so."""

    def __init__(self, tenant: Any) -> None:
        super().__init__(tenant=tenant)
        self.waiting, self.go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slot(self, call: int, model: str) -> AsyncIterator[RecordingSlot]:
        self.waiting.set()
        await self.go.wait()
        yield RecordingSlot()


async def test_a_silent_endpoint_holds_up_nobody_at_another(farm: Farm) -> None:
    farm.default.hold()
    stuck = [asyncio.create_task(answer(turn_of(fallbacks=()), farm)) for _ in range(20)]
    await farm.default.wait_in_flight(20)
    said = await asyncio.gather(*(answer(turn_of("globex"), farm, SECOND) for _ in range(20)))
    assert {each.model for each in said} == {SECOND}
    assert not any(call.done() for call in stuck)
    farm.default.release()
    await asyncio.gather(*stuck)


def test_a_models_endpoint_is_one_of_a_few_names(farm: Farm) -> None:
    names = [FIRST, SECOND, THIRD, "meta/llama", "backup/", "/", "", "default/scripted"]
    places = [farm.models.endpoint_of(name) for name in [*names, "offline-extractive"]]
    assert places == [
        "default",
        "backup",
        "spare",
        "default",
        "default",
        "default",
        "default",
        "default",
        "offline",
    ]
