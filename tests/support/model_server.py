"""A scripted OpenAI-compatible server on real HTTP.

    async with ModelServer() as server:
        server.script(Reply.tool_call("order_status", {"order_id": "A-1"}), Reply.text("Shipped."))
        ... OPENAI_BASE_URL = server.base_url ...
        assert server.chat_requests[0]["messages"][-1]["content"] == "Where is A-1?"

Replies are used up in the order of the requests; after the last one `server.default` answers. With
`server.decide` the request alone decides, the ids of the answer too, whoever else asks. By hand:
`python -m tests.support.model_server --port 9100`.
"""

import argparse
import asyncio
import base64
import hashlib
import math
import re
import struct
import weakref
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import orjson
from aiohttp import web

from tests.support.model_replies import Json, Reply, chunks, completion, last_user_text

__all__ = ["ModelServer", "Reply", "pseudo_embedding"]

DIMENSIONS = 384
MAX_REQUEST_BYTES = 64 * 1024 * 1024


class ModelServer:
    """Serves `/v1/chat/completions`, `/v1/embeddings` and `/v1/models` on 127.0.0.1."""

    def __init__(self, *, port: int = 0) -> None:
        self.chat_requests: list[Json] = []
        self.embedding_requests: list[Json] = []
        self.authorizations: list[str | None] = []
        self.default = Reply()
        self.decide: Callable[[Json], Reply] | None = None
        self.prompt_tokens = 120
        self.completion_tokens = 30
        self.embedding_tokens: int | None = None  # None: one a word
        self.in_flight = 0
        self.in_flight_max = 0
        self.connections = 0
        self._replies: deque[Reply] = deque()
        self._embedding_replies: deque[Reply] = deque()
        self._seen: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self._gate = asyncio.Event()
        self._gate.set()
        self._over = asyncio.Event()
        self._arrived = asyncio.Condition()
        self._port = port

    def script(self, *replies: Reply) -> None:
        """Append to what the next chat requests are answered with."""
        self._replies.extend(replies)

    def script_embeddings(self, *replies: Reply) -> None:
        """Append to what the next embedding requests are answered with: errors, silence, bodies."""
        self._embedding_replies.extend(replies)

    def forget(self) -> None:
        """Drop the script and everything recorded, and open the gate."""
        for recorded in (self.chat_requests, self.embedding_requests, self.authorizations):
            recorded.clear()
        self._replies.clear()
        self._embedding_replies.clear()
        self.default, self.decide, self.in_flight_max = Reply(), None, self.in_flight
        self.release()

    def hold(self) -> None:
        """Keep chat requests from being answered until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Answer what was held."""
        self._gate.set()

    async def wait_in_flight(self, count: int, *, timeout_seconds: float = 5) -> None:
        """Return once `count` chat requests are being answered at the same time."""
        async with asyncio.timeout(timeout_seconds), self._arrived:
            await self._arrived.wait_for(lambda: self.in_flight >= count)

    @property
    def base_url(self) -> str:
        """What a client calls its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._over.set()
        self._gate.set()
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request, self.chat_requests)
        number = len(self.chat_requests)
        reply = self._replies.popleft() if self._replies else self.default
        if self.decide is not None:
            reply, number = self.decide(body), zlib.crc32(orjson.dumps(body))
        if reply.echoes:
            reply = replace(reply, content=last_user_text(body))
        await self._enter()
        try:
            await self._gate.wait()
            return await self._answer(request, body, reply, number)
        finally:
            self.in_flight -= 1

    async def _enter(self) -> None:
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        async with self._arrived:
            self._arrived.notify_all()

    async def _answer(
        self, request: web.Request, body: Json, reply: Reply, number: int
    ) -> web.StreamResponse:
        await self._wait(reply.delay_seconds)
        if reply.body is not None:
            return _as_it_is(reply)
        if body.get("stream"):
            return await self._stream(request, body, reply, number)
        if reply.silent_after is not None:
            await self._over.wait()
        answer = orjson.dumps(completion(reply, body, number, self._usage(reply)))
        return await _torn(request, answer) if reply.cut_after is not None else _json(answer)

    async def _stream(
        self, request: web.Request, body: Json, reply: Reply, number: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if reply.silent_after == 0:
            await self._over.wait()
        await response.prepare(request)
        for sent, chunk in enumerate(chunks(reply, body, number, self._usage(reply))):
            if sent == reply.silent_after:
                await self._over.wait()
            if sent == reply.cut_after:
                return _lose(request, response)
            await self._wait(reply.pause_seconds)
            await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        await self._wait(reply.pause_seconds)  # the end of the body comes in a packet of its own
        return response

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        body = await self._record(request, self.embedding_requests)
        if self._embedding_replies:
            reply = self._embedding_replies.popleft()
            await self._wait(reply.delay_seconds)
            if reply.silent_after is not None:
                await self._over.wait()
            if reply.body is not None:
                return _as_it_is(reply)
        return _json(orjson.dumps(self._embedded(body)))

    def _embedded(self, body: Json) -> Json:
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        words = sum(len(_words(text)) for text in texts)
        tokens = words if self.embedding_tokens is None else self.embedding_tokens
        form = _packed if body.get("encoding_format") == "base64" else list
        found = [
            {"object": "embedding", "index": index, "embedding": form(pseudo_embedding(text))}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": body["model"], "data": found, "usage": usage}

    async def _models(self, _request: web.Request) -> web.StreamResponse:
        models = [{"id": "scripted", "object": "model", "created": 0, "owned_by": "tests"}]
        return _json(orjson.dumps({"object": "list", "data": models}))

    async def _record(self, request: web.Request, requests: list[Json]) -> Json:
        transport = request.transport
        if transport is not None and transport not in self._seen:
            self._seen.add(transport)
            self.connections += 1
        body: Json = orjson.loads(await request.read())
        requests.append(body)
        self.authorizations.append(request.headers.get("Authorization"))
        return body

    async def _wait(self, seconds: float) -> None:
        if not seconds:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return

    def _usage(self, reply: Reply) -> tuple[int, int]:
        return reply.usage or (self.prompt_tokens, self.completion_tokens)


def pseudo_embedding(text: str) -> list[float]:
    """A normalised hashed bag of words: texts that share words point the same way."""
    vector = [0.0] * DIMENSIONS
    for word in _words(text):
        digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
        vector[int.from_bytes(digest[:3], "big") % DIMENSIONS] += 1.0 if digest[3] & 1 else -1.0
    length = math.hypot(*vector)
    return [figure / length for figure in vector] if length else [1.0] + [0.0] * (DIMENSIONS - 1)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _as_it_is(reply: Reply) -> web.Response:
    headers = {**reply.headers, "Content-Type": reply.content_type}
    return web.Response(status=reply.status, body=reply.body, headers=headers)


async def _torn(request: web.Request, answer: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(answer)
    await response.prepare(request)
    await response.write(answer[: len(answer) // 2])
    return _lose(request, response)


def _lose(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.close()
    return response


async def _serve(port: int) -> None:
    async with ModelServer(port=port) as server:
        server.default = Reply.echo()
        print(f"ready {server.base_url}", flush=True)  # noqa: T201  # the line a script waits for
        await asyncio.Event().wait()


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted, echoing every question."""
    parser: Any = argparse.ArgumentParser(description="A scripted OpenAI-compatible server.")
    parser.add_argument("--port", type=int, default=9100)
    try:
        asyncio.run(_serve(parser.parse_args(arguments).port))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
