"""The lean client answers as stock ChatOpenAI does, and fails in our words only."""

import asyncio
import json
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessageChunk
from langchain_openai import ChatOpenAI

from server.model_endpoint import ModelEndpoint, translating
from server.openai_wire.embeddings import BATCH
from server.openai_wire.watch import Watch
from tenancy.errors import ModelFailed, ModelTimeout
from tests.support.model_server import ModelServer, Reply, pseudo_embedding

KEY = "sk-never-show-this"
RIGHT_NOW = "Wed, 25 Nov 2026 12:00:00 GMT"
PROMPT = "a prompt nobody else may read"
QUESTION = [("system", "Be brief."), ("human", PROMPT)]
TOOL = {
    "type": "function",
    "function": {
        "name": "order_status",
        "description": "Look up an order.",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}},
    },
}
CALLS = Reply.tool_calls(
    ("order_status", {"order_id": "A-1001", "note": "größer 🙂"}),
    ("order_status", {}),
    text="Looking.",
)
ANSWERS = {
    "text": Reply.text("Two  words,\nand a line 🙂.", usage=(7, 0)),
    "empty": Reply.text(""),
    "length": Reply.text("cut of", finish_reason="length"),
    "filtered": Reply.text("", finish_reason="content_filter"),
    "refusal": Reply.refusal("I will not."),
    "one call": Reply.tool_call("order_status", {"order_id": "A-1001"}),
    "parallel calls": CALLS,
    "broken arguments": Reply.tool_call("order_status", '{"order_id": '),
    "no usage": Reply(without_usage=True),
}
# Stock LangChain completes the arguments of a stream that broke off.
WHOLE = {name: reply for name, reply in ANSWERS.items() if name != "broken arguments"}


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


@pytest.fixture
def server(running: ModelServer) -> ModelServer:
    running.forget()
    return running


@pytest.fixture(scope="module")
async def shared(running: ModelServer) -> AsyncIterator[ModelEndpoint]:
    endpoint = ModelEndpoint(running.base_url, KEY, timeout_seconds=5)
    yield endpoint
    await endpoint.aclose()


@pytest.fixture
async def impatient(server: ModelServer) -> AsyncIterator[ModelEndpoint]:
    endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=0.25)
    yield endpoint
    await endpoint.aclose()


@pytest.fixture
def stock(server: ModelServer) -> ChatOpenAI:
    return ChatOpenAI(
        model="scripted",
        base_url=server.base_url,
        api_key=KEY,
        stream_usage=True,
        max_retries=0,
        use_responses_api=False,
    )


@contextmanager
def orphaned_generators() -> Iterator[list[str]]:
    """The names of the asynchronous generators that nobody closed."""
    hooks, names = sys.get_asyncgen_hooks(), []

    def finalize(generator: Any) -> None:
        names.append(generator.__qualname__)
        hooks.finalizer(generator)

    sys.set_asyncgen_hooks(firstiter=hooks.firstiter, finalizer=finalize)
    yield names
    sys.set_asyncgen_hooks(*hooks)


def essence(message: AIMessage) -> dict[str, Any]:
    """Everything of a message but the ids made for this one call."""
    plain = message.model_dump(exclude={"id"})
    plain["response_metadata"].pop("id", None)
    for call in plain["tool_calls"] + plain["invalid_tool_calls"]:
        call["id"] = call["id"].replace("call_1_", "call_2_")
    return json.loads(json.dumps(plain).replace("call_1_", "call_2_"))


async def streamed(model: Any, **options: Any) -> BaseMessageChunk:
    chunks = [chunk async for chunk in model.astream(QUESTION, **options)]
    whole: BaseMessageChunk = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


class TestEqualsStock:
    @pytest.mark.parametrize("reply", ANSWERS.values(), ids=ANSWERS)
    async def test_a_whole_answer_is_the_message_that_stock_gives(
        self, server: ModelServer, shared: ModelEndpoint, stock: ChatOpenAI, reply: Reply
    ) -> None:
        server.script(reply, reply)
        ours = await shared.chat_model("scripted").ainvoke(QUESTION, tools=[TOOL])
        theirs = await stock.ainvoke(QUESTION, tools=[TOOL])
        assert essence(ours) == essence(theirs)

    @pytest.mark.parametrize("coalesce", [True, False])
    @pytest.mark.parametrize("reply", WHOLE.values(), ids=WHOLE)
    async def test_a_stream_adds_up_to_the_message_that_stock_gives(
        self, server: ModelServer, stock: ChatOpenAI, reply: Reply, coalesce: bool
    ) -> None:
        endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=5, coalesce=coalesce)
        server.script(reply, reply)
        ours = await streamed(endpoint.chat_model("scripted"), tools=[TOOL])
        theirs = await streamed(stock, tools=[TOOL])
        await endpoint.aclose()
        assert essence(ours) == essence(theirs)

    @pytest.mark.parametrize("options", [{}, {"max_tokens": 9, "stop": ["END"]}, {"tools": [TOOL]}])
    async def test_the_request_is_what_stock_sends(
        self,
        server: ModelServer,
        shared: ModelEndpoint,
        stock: ChatOpenAI,
        options: dict[str, Any],
    ) -> None:
        for model in (shared.chat_model("scripted"), stock):
            await model.ainvoke(QUESTION, **options)
            await streamed(model, **options)
        whole, stream, stock_whole, stock_stream = server.chat_requests
        assert (whole, stream) == (stock_whole, stock_stream)
        assert server.authorizations == [f"Bearer {KEY}"] * 4

    async def test_options_of_the_sdk_go_through_the_sdk(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        model = shared.chat_model("scripted")
        server.script(Reply.text("yes"), Reply.text("also yes"), Reply.error(500), Reply.hang())
        options = {"extra_headers": {"x-test": "1"}}
        assert (await model.ainvoke(QUESTION, **options)).text == "yes"
        assert (await streamed(model, **options)).text == "also yes"
        with pytest.raises(ModelFailed, match="answered 500"):
            await model.ainvoke(QUESTION, **options)
        with pytest.raises(ModelTimeout):
            await model.ainvoke(QUESTION, timeout=0.1)

    async def test_structured_output_is_translated_by_its_caller(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script(Reply.error(400))
        form = {"title": "Form", "type": "object", "properties": {"a": {"type": "string"}}}
        model = shared.chat_model("scripted").with_structured_output(form, method="json_schema")
        with pytest.raises(ModelFailed, match="answered 400"), translating():
            await model.ainvoke(QUESTION)


class TestModels:
    async def test_a_model_is_built_once(self, shared: ModelEndpoint) -> None:
        assert shared.chat_model("scripted") is shared.chat_model("scripted")
        assert shared.chat_model("scripted") is not shared.chat_model("other")

    async def test_a_call_may_say_fewer_tokens_than_the_model(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        model = shared.chat_model("scripted", max_output_tokens=500)
        await model.ainvoke(QUESTION)
        await model.ainvoke(QUESTION, max_tokens=20)
        limits = [request["max_completion_tokens"] for request in server.chat_requests]
        assert limits == [500, 20]

    async def test_an_endpoint_without_a_key_is_sent_none(self, server: ModelServer) -> None:
        endpoint = ModelEndpoint(server.base_url, timeout_seconds=5)
        await endpoint.chat_model("scripted").ainvoke(QUESTION)
        await endpoint.aclose()
        assert server.authorizations == [None]


class TestConnections:
    async def test_calls_one_after_another_share_a_connection(self, server: ModelServer) -> None:
        endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=5)
        model, before = endpoint.chat_model("scripted"), server.connections
        for _ in range(3):
            await model.ainvoke(QUESTION)
            server.script(Reply.paced(0.005))
            await streamed(model)
            await endpoint.embedder("e").embed(["one"])
        await endpoint.aclose()
        assert server.connections - before == 1

    async def test_calls_run_side_by_side(self, server: ModelServer, shared: ModelEndpoint) -> None:
        server.hold()
        model = shared.chat_model("scripted")
        calls = [asyncio.create_task(model.ainvoke(QUESTION)) for _ in range(20)]
        await server.wait_in_flight(20)
        server.release()
        await asyncio.gather(*calls)
        assert server.in_flight_max == 20

    async def test_a_stream_left_halfway_hangs_up_and_leaves_no_task(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script(Reply.hang(after=3))
        with orphaned_generators() as orphans:
            stream = shared.chat_model("scripted").astream(QUESTION)
            assert isinstance(await anext(stream), AIMessageChunk)
            await stream.aclose()
            await asyncio.sleep(0.05)
        assert server.in_flight == 0
        assert orphans  # langchain's own are left to the collector
        assert "FastCompletions._stream" not in orphans
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not [task for task in others if "astream" in repr(task)]

    async def test_a_cancelled_call_hangs_up(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script(Reply.hang())
        call = asyncio.create_task(shared.chat_model("scripted").ainvoke(QUESTION))
        await server.wait_in_flight(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(0.05)
        assert server.in_flight == 0

    async def test_a_closed_endpoint_answers_nothing(self, server: ModelServer) -> None:
        endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=5)
        await endpoint.chat_model("scripted").ainvoke(QUESTION)
        await endpoint.aclose()
        with pytest.raises(ModelFailed, match="closed"):
            await endpoint.chat_model("scripted").ainvoke(QUESTION)


def completion_with(**changed: Any) -> Reply:
    message = {"role": "assistant", "content": "ok"} | changed.pop("message", {})
    answer = {"id": "1", "model": "m", "choices": [{"index": 0, "message": message}]} | changed
    return Reply.raw(200, json.dumps(answer))


def stream_of(*events: str) -> Reply:
    body = "".join(f"data: {event}\n\n" for event in events)
    return Reply.raw(200, body, "text/event-stream")


def chunk_with(delta: Any, finish_reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "model": "m", "choices": [choice]} | more)


class TestCoalescing:
    @pytest.mark.parametrize(("coalesce", "texts"), [(True, ["abc", "d"]), (False, [*"abc", "d"])])
    async def test_text_that_arrived_together_travels_together(
        self, server: ModelServer, coalesce: bool, texts: list[str]
    ) -> None:
        deltas = [chunk_with({"content": text}) for text in "abc"]
        server.script(stream_of(*deltas, chunk_with({"content": "d"}, "stop"), "[DONE]"))
        endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=5, coalesce=coalesce)
        chunks = [chunk async for chunk in endpoint.chat_model("scripted").astream(QUESTION)]
        await endpoint.aclose()
        assert [chunk.text for chunk in chunks if chunk.text] == texts


REFUSED = [400, 401, 403, 404, 413, 429, 500, 503, 302]
NONSENSE = {
    "html": Reply.raw(200, f"<html>{PROMPT}</html>", "text/html"),
    "empty body": Reply.raw(200, b""),
    "empty object": Reply.raw(200, "{}"),
    "list": Reply.raw(200, "[]"),
    "null choices": completion_with(choices=None),
    "no choices": completion_with(choices=[]),
    "choices of another kind": completion_with(choices="many"),
    "no message": completion_with(choices=[{"index": 0}]),
    "content of another kind": completion_with(message={"content": 7}),
    "another role": completion_with(message={"role": "user"}),
    "tool calls of another kind": completion_with(message={"tool_calls": "call"}),
    "a call without a function": completion_with(message={"tool_calls": [{"id": "1"}]}),
    "a call without a name": completion_with(message={"tool_calls": [{"function": {}}]}),
    "an error in a success": completion_with(error={"message": PROMPT}),
    "lone surrogate": Reply.raw(200, b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
}
BROKEN_STREAMS = {
    "html": Reply.raw(200, f"<html>{PROMPT}</html>", "text/html"),
    "empty body": Reply.raw(200, b"", "text/event-stream"),
    "lost connection": Reply.truncated_stream(),
    "no end": stream_of(chunk_with({"content": "half"})),
    "nothing but an end": stream_of("[DONE]"),
    "not JSON": stream_of(chunk_with({"content": "a"}), "{", "[DONE]"),
    "an error": stream_of(chunk_with({"content": "a"}), json.dumps({"error": {"message": PROMPT}})),
    "text that is none": stream_of(chunk_with({"content": 7}), "[DONE]"),
    "a call without a function": stream_of(chunk_with({"tool_calls": [{"index": 0}]}), "[DONE]"),
}


def said_nothing_private(failure: ModelFailed) -> bool:
    told = repr(failure) + "".join(traceback.format_exception(failure))
    return failure.__cause__ is None and KEY not in told and PROMPT not in told


class TestFailures:
    @pytest.mark.parametrize("status", REFUSED)
    @pytest.mark.parametrize("way", ["whole", "stream"])
    async def test_an_error_status_is_a_failure_that_names_it(
        self, server: ModelServer, shared: ModelEndpoint, status: int, way: str
    ) -> None:
        server.script(Reply.error(status))
        model = shared.chat_model("scripted")
        with pytest.raises(ModelFailed) as caught:
            await (model.ainvoke(QUESTION) if way == "whole" else streamed(model))
        assert type(caught.value) is ModelFailed
        assert caught.value.detail == f"The model endpoint answered {status}."
        assert said_nothing_private(caught.value)

    @pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
    async def test_nonsense_is_a_failure(
        self, server: ModelServer, shared: ModelEndpoint, reply: Reply
    ) -> None:
        server.script(reply)
        with pytest.raises(ModelFailed) as caught:
            await shared.chat_model("scripted").ainvoke(QUESTION)
        assert type(caught.value) is ModelFailed
        assert said_nothing_private(caught.value)

    @pytest.mark.parametrize("reply", BROKEN_STREAMS.values(), ids=BROKEN_STREAMS)
    async def test_a_broken_stream_is_a_failure(
        self, server: ModelServer, shared: ModelEndpoint, reply: Reply
    ) -> None:
        server.script(reply)
        with pytest.raises(ModelFailed) as caught:
            await streamed(shared.chat_model("scripted"))
        assert type(caught.value) is ModelFailed
        assert said_nothing_private(caught.value)

    async def test_half_an_answer_is_a_failure(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script(Reply.truncated_stream())
        with pytest.raises(ModelFailed, match="broke off"):
            await shared.chat_model("scripted").ainvoke(QUESTION)

    @pytest.mark.parametrize("usage", ["many", {}, {"prompt_tokens": -1, "completion_tokens": 2}])
    async def test_usage_that_counts_nothing_is_missing(
        self, server: ModelServer, shared: ModelEndpoint, usage: Any
    ) -> None:
        server.script(completion_with(usage=usage))
        answer = await shared.chat_model("scripted").ainvoke(QUESTION)
        assert (answer.text, answer.usage_metadata) == ("ok", None)

    async def test_an_unreachable_endpoint_is_a_failure(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            endpoint = ModelEndpoint(url, KEY, timeout_seconds=5)
            with pytest.raises(ModelFailed, match="not reachable"):
                await endpoint.chat_model("scripted").ainvoke(QUESTION)
            await endpoint.aclose()

    @pytest.mark.parametrize("silence", [Reply.hang(), Reply.slow(2)])
    async def test_silence_is_a_time_out_and_is_not_tried_again(
        self, server: ModelServer, impatient: ModelEndpoint, silence: Reply
    ) -> None:
        server.script(silence, silence)
        model = impatient.chat_model("scripted")
        with pytest.raises(ModelTimeout):
            await model.ainvoke(QUESTION)
        with pytest.raises(ModelTimeout):
            await streamed(model)
        assert len(server.chat_requests) == 2

    async def test_silence_within_a_stream_is_a_time_out(
        self, server: ModelServer, impatient: ModelEndpoint
    ) -> None:
        server.script(Reply.paced(0.02, Reply.hang(after=3)))
        stream = impatient.chat_model("scripted").astream(QUESTION)
        assert [(await anext(stream)).text for _ in range(3)] == ["", "The ", "scripted "]
        with pytest.raises(ModelTimeout):
            await anext(stream)

    async def test_a_stream_may_be_longer_than_the_time_out(
        self, server: ModelServer, impatient: ModelEndpoint
    ) -> None:
        server.script(Reply.paced(0.06))  # nine chunks
        assert (await streamed(impatient.chat_model("scripted"))).text == server.default.content

    async def test_a_slow_reader_is_no_silent_endpoint(
        self, server: ModelServer, impatient: ModelEndpoint
    ) -> None:
        server.script(Reply.paced(0.02))
        async for _ in (stream := impatient.chat_model("scripted").astream(QUESTION)):
            await asyncio.sleep(0.3)
            break
        assert "".join([chunk.text async for chunk in stream]) == server.default.content


@dataclass
class Ear:
    """Hears how the endpoints fare."""

    pressures: list[tuple[str, float | None]] = field(default_factory=list)
    answers: list[tuple[str, float, int]] = field(default_factory=list)

    def pressed(self, endpoint: str, *, retry_after: timedelta | None) -> None:
        seconds = None if retry_after is None else retry_after.total_seconds()
        self.pressures.append((endpoint, seconds))

    def observed(self, endpoint: str, *, seconds: float, tokens: int) -> None:
        self.answers.append((endpoint, seconds, tokens))

    def watch(self, endpoint: str) -> Watch:
        return Watch(endpoint, self.pressed, self.observed)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def heard(server: ModelServer, ear: Ear) -> AsyncIterator[ModelEndpoint]:
    watch = ear.watch("backup")
    endpoint = ModelEndpoint(server.base_url, KEY, timeout_seconds=0.4, watch=watch)
    yield endpoint
    await endpoint.aclose()


async def failing(model: Any, way: str) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        await (model.ainvoke(QUESTION) if way == "whole" else streamed(model))
    return caught.value


WAYS = pytest.mark.parametrize("way", ["whole", "stream"])


WISHES: dict[str, tuple[dict[str, str], float | None]] = {
    "seconds": ({"retry-after": "30"}, 30),
    "milliseconds": ({"retry-after-ms": "2500"}, 2.5),
    "date": ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT", "date": RIGHT_NOW}, 30),
    "nothing": ({}, None),
}


class TestWhatAFailureSays:
    @WAYS
    @pytest.mark.parametrize("wish", WISHES)
    async def test_what_the_endpoint_asks_for_is_known(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str, wish: str
    ) -> None:
        headers, seconds = WISHES[wish]
        reply = Reply.error(429)
        server.script(replace(reply, headers={**reply.headers, **headers}))
        failure = await failing(heard.chat_model("scripted"), way)
        assert (failure.status, failure.at_fault, failure.began) == (429, True, False)
        assert (failure.retry_after and failure.retry_after.total_seconds()) == seconds
        assert ear.pressures == [("backup", seconds)]

    async def test_a_failure_of_the_sdk_says_the_same(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear
    ) -> None:
        server.script(Reply.error(429, retry_after=30))
        with pytest.raises(ModelFailed) as caught:
            await heard.chat_model("scripted").ainvoke(QUESTION, extra_headers={"x-test": "1"})
        assert (caught.value.status, caught.value.retry_after) == (429, timedelta(seconds=30))
        assert ear.pressures == [("backup", 30)]

    @WAYS
    @pytest.mark.parametrize("status", [400, 401, 404])
    async def test_a_request_found_wrong_is_no_pressure(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str, status: int
    ) -> None:
        server.script(Reply.error(status))
        failure = await failing(heard.chat_model("scripted"), way)
        assert (failure.status, failure.at_fault) == (status, False)
        assert ear.pressures == []

    @WAYS
    async def test_a_try_that_nobody_else_sees_is_told_too(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str
    ) -> None:
        server.script(Reply.error(503, retry=True, retry_after=0.01), Reply.text("there"))
        model = heard.chat_model("scripted")
        await (model.ainvoke(QUESTION) if way == "whole" else streamed(model))
        assert ear.pressures == [("backup", 0.01)]
        assert len(ear.answers) == 1

    @WAYS
    async def test_silence_is_told_once(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str
    ) -> None:
        server.script(Reply.hang())
        failure = await failing(heard.chat_model("scripted"), way)
        assert (type(failure), failure.at_fault, failure.received) == (ModelTimeout, True, 0)
        assert ear.pressures == [("backup", None)]

    @WAYS
    async def test_each_refused_connection_is_told(self, ear: Ear, way: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
            endpoint = ModelEndpoint(url, KEY, timeout_seconds=5, watch=ear.watch("backup"))
            failure = await failing(endpoint.chat_model("scripted"), way)
            await endpoint.aclose()
        assert (failure.status, failure.at_fault, failure.received) == (None, True, 0)
        assert ear.pressures == [("backup", None)] * 2

    async def test_half_an_answer_may_have_cost_the_whole(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear
    ) -> None:
        server.script(Reply.truncated_stream(), Reply.truncated_stream())
        model = heard.chat_model("scripted")
        failure = await failing(model, "whole")
        assert (failure.began, failure.received > 0) == (False, True)
        assert ear.pressures == [("backup", None)]
        with pytest.raises(ModelFailed) as caught:
            await model.ainvoke(QUESTION, max_tokens=50_000)
        assert caught.value.received == 50_000

    @pytest.mark.parametrize(
        ("reply", "began", "received"),
        [
            (Reply.truncated_stream(after=0), False, 0),
            (Reply.truncated_stream(after=1), False, 1),  # its role
            (Reply.truncated_stream(after=3), True, 1 + len("The scripted ")),
            (Reply.hang(after=3), True, 1 + len("The scripted ")),
            (replace(CALLS, cut_after=5), True, None),  # in the middle of its first call
            (replace(CALLS, content=None, cut_after=5), False, None),
            (stream_of(chunk_with({"content": "é"}), chunk_with({"content": None})), True, 3),
            (stream_of(chunk_with({"reasoning_content": "hm"})), False, 2),
        ],
    )
    async def test_what_came_of_a_stream_is_known(
        self,
        server: ModelServer,
        heard: ModelEndpoint,
        reply: Reply,
        began: bool,
        received: int | None,
    ) -> None:
        server.script(replace(reply, pause_seconds=0.01 if reply.body is None else 0))
        failure = await failing(heard.chat_model("scripted"), "stream")
        assert failure.at_fault
        assert failure.began is began
        assert failure.received == received if received is not None else failure.received > 20

    async def test_what_nobody_was_shown_did_not_begin(
        self, server: ModelServer, heard: ModelEndpoint
    ) -> None:
        server.script(stream_of(chunk_with({"content": "abc"}), "{"))  # they arrive together
        failure = await failing(heard.chat_model("scripted"), "stream")
        assert (failure.began, failure.received) == (False, 3)

    @WAYS
    async def test_an_answer_is_told_with_its_own_figures(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str
    ) -> None:
        server.script(Reply.paced(0.01, Reply.slow(0.05, Reply.text("Yes.", usage=(70, 5)))))
        model = heard.chat_model("scripted")
        await (model.ainvoke(QUESTION) if way == "whole" else streamed(model))
        [(endpoint, seconds, tokens)] = ear.answers
        assert (endpoint, tokens) == ("backup", 75)
        assert seconds > 0
        assert ear.pressures == []

    @WAYS
    async def test_an_answer_without_figures_is_told_with_an_estimate(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear, way: str
    ) -> None:
        server.script(Reply(without_usage=True))
        model = heard.chat_model("scripted")
        await (model.ainvoke(QUESTION) if way == "whole" else streamed(model))
        assert ear.answers[0][2] > 5

    async def test_embeddings_are_told_of_when_they_fail(
        self, server: ModelServer, heard: ModelEndpoint, ear: Ear
    ) -> None:
        server.script_embeddings(Reply.error(429, retry_after=7))
        with pytest.raises(ModelFailed):
            await heard.embedder("small").embed(["one"])
        await heard.embedder("small").embed(["one"])
        assert (ear.pressures, ear.answers) == ([("backup", 7)], [])


class TestSecondTry:
    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_a_passing_fault_is_tried_once_more(
        self, server: ModelServer, shared: ModelEndpoint, status: int
    ) -> None:
        server.script(Reply.error(status, retry=True), Reply.text("there"))
        assert (await shared.chat_model("scripted").ainvoke(QUESTION)).text == "there"

    async def test_a_lasting_fault_is_a_failure(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.default = Reply.error(503, retry=True)
        with pytest.raises(ModelFailed, match="answered 503"):
            await streamed(shared.chat_model("scripted"))
        assert len(server.chat_requests) == 2

    async def test_an_endpoint_that_wants_a_long_rest_is_left_alone(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script(Reply.error(429, retry=True, retry_after=30))
        with pytest.raises(ModelFailed, match="answered 429"):
            await shared.chat_model("scripted").ainvoke(QUESTION)
        assert len(server.chat_requests) == 1


def embeddings(*vectors: Any, usage: Any = None, indices: list[int] | None = None) -> Reply:
    places = indices or list(range(len(vectors)))
    found = [{"index": i, "embedding": v} for i, v in zip(places, vectors, strict=True)]
    return Reply.raw(200, json.dumps({"data": found, "usage": usage}))


MALFORMED_EMBEDDINGS = {
    "html": Reply.raw(200, "<html>", "text/html"),
    "too few": embeddings([0.5]),
    "too many": embeddings([0.5], [0.5], [0.5]),
    "twice the same": embeddings([0.5], [0.5], indices=[0, 0]),
    "two dimensions": embeddings([0.5], [0.5, 0.5]),
    "no dimension": embeddings([], []),
    "words": embeddings(["a"], ["b"]),
    "nothing": embeddings(None, None),
    "infinite": Reply.raw(200, '{"data": [{"embedding": [1e999]}, {"embedding": [1]}]}'),
    "status": Reply.error(400),
}


class TestEmbedder:
    async def test_vectors_come_in_the_order_of_their_texts(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script_embeddings(
            embeddings([1, 0], [0, 1.5], indices=[1, 0], usage={"prompt_tokens": 0})
        )
        embedded = await shared.embedder("small").embed(["one", "two"])
        assert (embedded.vectors, embedded.tokens) == ([[0, 1.5], [1, 0]], 0)

    async def test_many_texts_travel_in_batches(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        texts = [f"text {number}" for number in range(BATCH + 1)]
        embedded = await shared.embedder("small").embed(texts)
        assert [len(request["input"]) for request in server.embedding_requests] == [BATCH, 1]
        assert embedded.vectors == [pseudo_embedding(text) for text in texts]
        assert embedded.tokens == 2 * len(texts)
        assert server.embedding_requests[0]["encoding_format"] == "float"

    async def test_no_texts_cost_nothing(self, server: ModelServer, shared: ModelEndpoint) -> None:
        embedded = await shared.embedder("small").embed([])
        assert (embedded.vectors, embedded.tokens, server.embedding_requests) == ([], 0, [])

    async def test_uncounted_tokens_are_estimated_from_bytes(
        self, server: ModelServer, shared: ModelEndpoint
    ) -> None:
        server.script_embeddings(embeddings([0.5], [0.5]))
        assert (await shared.embedder("small").embed(["größer", "a"])).tokens == 3

    @pytest.mark.parametrize("reply", MALFORMED_EMBEDDINGS.values(), ids=MALFORMED_EMBEDDINGS)
    async def test_malformed_vectors_are_a_failure(
        self, server: ModelServer, shared: ModelEndpoint, reply: Reply
    ) -> None:
        server.script_embeddings(reply)
        with pytest.raises(ModelFailed):
            await shared.embedder("small").embed(["one", "two"])

    async def test_silence_is_a_time_out(
        self, server: ModelServer, impatient: ModelEndpoint
    ) -> None:
        server.script_embeddings(Reply.hang())
        with pytest.raises(ModelTimeout):
            await impatient.embedder("small").embed(["one"])
