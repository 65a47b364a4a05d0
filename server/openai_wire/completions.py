"""The `async_client` of a stock `ChatOpenAI`: aiohttp and orjson in place of SDK and httpx."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import openai

from server.openai_wire.answers import Chunks, Completion, Raw
from server.openai_wire.coalescing import coalesced
from server.openai_wire.events import EventReader, drain
from server.openai_wire.failures import translating
from server.openai_wire.progress import Progress
from server.openai_wire.shapes import Json, vet_chunk, vet_completion
from server.openai_wire.tool_calls import HeldCalls
from server.openai_wire.transport import Transport
from tenancy.errors import ModelFailed

PATH = "/chat/completions"
OUTPUT_LIMIT = "max_completion_tokens"  # as langchain-openai names it
SDK_OPTIONS = ("extra_headers", "extra_query", "timeout")  # rare: left to the SDK
OMITTED = (openai.NotGiven, openai.Omit)


class FastCompletions:
    """What langchain-openai uses of `AsyncOpenAI().chat.completions`, over one `Transport`.

    Everything raised is a `ModelFailed` or `ModelTimeout`; langchain-openai lets them pass.
    `stock` answers calls with options of the SDK that the transport does not know.
    """

    def __init__(self, transport: Transport, stock: Any, *, coalesce: bool) -> None:
        self._transport = transport
        self._stock = stock
        self._coalesce = coalesce

    @property
    def with_raw_response(self) -> "RawCompletions":
        """The same calls, answered with something that parses itself."""
        return RawCompletions(self)

    async def create(self, **payload: Any) -> Any:
        """A completion, or with `stream` an asynchronous context manager of its chunks."""
        if any(option in payload for option in SDK_OPTIONS):
            return await self._through_sdk(payload)
        payload = plain(payload)
        if payload.get("stream"):
            return Chunks(self._stream(payload))
        return Completion.of(await self._whole(payload))

    async def _whole(self, payload: Json) -> Json:
        try:
            whole = await self._transport.post(PATH, payload)
        except ModelFailed as failure:
            if failure.received:  # of an answer that the endpoint had finished
                failure.received = max(failure.received, payload.get(OUTPUT_LIMIT) or 0)
            raise
        answer = vet_completion(whole.answer)
        self._transport.watch.answered(whole.started, answer["usage"], whole.size)
        return answer

    async def _through_sdk(self, payload: Mapping[str, Any]) -> Any:
        try:
            with translating():
                answer = await self._stock.create(**payload)
        except ModelFailed as failure:
            if failure.at_fault:
                self._transport.watch.pressed(failure.retry_after)
            raise
        if payload.get("stream"):
            return Chunks(_stock_chunks(answer))
        return Completion.of(vet_completion(_dumped(answer)))

    async def _stream(self, payload: Mapping[str, Any]) -> AsyncGenerator[Json, None]:
        progress, calls = Progress(), HeldCalls()
        try:
            async with self._transport.stream(PATH, payload) as sent:
                content = sent.response.content
                reader = EventReader(content, gap_seconds=self._transport.timeout_seconds)
                while not progress.done and (events := await self._read(reader)):
                    chunks = [*map(calls.pass_on, progress.chunks(events))]
                    for chunk in coalesced(chunks) if self._coalesce else chunks:
                        progress.pass_on(chunk)
                        yield chunk
                progress.require_end()
                self._transport.watch.answered(sent.started, progress.usage, progress.received)
                for chunk in calls.rest():
                    yield chunk
                await drain(content)
        except ModelFailed as failure:
            failure.began, failure.received = progress.passed_on, progress.received
            raise

    async def _read(self, reader: EventReader) -> list[bytes]:
        with self._transport.watching():
            return await reader.read()


class RawCompletions:
    """Answers wrapped as the SDK's raw responses are."""

    def __init__(self, completions: FastCompletions) -> None:
        self._completions = completions

    async def create(self, **payload: Any) -> "Raw":
        """As `FastCompletions.create`."""
        return Raw(await self._completions.create(**payload))


def plain(payload: Mapping[str, Any]) -> Json:
    """The body of a request: what was left out stays out, `extra_body` goes in."""
    extra = payload.get("extra_body") or {}
    sent = {name: value for name, value in payload.items() if not isinstance(value, OMITTED)}
    sent.pop("extra_body", None)
    return {**sent, **extra}


async def _stock_chunks(stream: Any) -> AsyncGenerator[Json, None]:
    try:
        with translating():
            async for chunk in stream:
                yield vet_chunk(_dumped(chunk))
    finally:
        await stream.close()


def _dumped(answer: Any) -> Any:
    return answer.model_dump(warnings=False) if isinstance(answer, openai.BaseModel) else None
