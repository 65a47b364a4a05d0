"""A model on the OpenAI wire that keeps books of its own: what it would bill, request by request.

    python -m bench.counting_model [--port 0]

The last user message directs it: `say:40` tokens, `after:200` milliseconds until the first,
`each:5` milliseconds a token, `call:current_time` before it answers. The first word of that
message names the entry in the books. A request whose client went away is booked with what had been
made until then. `GET /books?since=N` gives the entries from the Nth on; times are of the monotonic
clock, which all processes of a machine share.
"""

import argparse
import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.support.model_replies import Json, Reply, chunks, completion, last_user_text

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 3
CALL_TOKENS = 12
DIMENSIONS = 384
MAX_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request as it is billed."""

    name: str
    tenant: str
    model: str
    arrived: float
    ended: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    whole: bool = False  # the client was there until the end


@dataclass(frozen=True, slots=True)
class Order:
    """What a request asks for."""

    reply: Reply
    output_tokens: int
    first_seconds: float
    each_seconds: float


class CountingModel:
    """Answers as it is told, and books it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", _embeddings)
        app.router.add_get("/books", self._books)
        return app

    async def _books(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", 0))
        return _json([asdict(entry) for entry in self.entries[since:]])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        arrived = time.monotonic()
        body: Json = orjson.loads(await request.read())
        with self._booked(body, arrived) as entry:
            order = order_of(body)
            if body.get("stream"):
                response = await _stream(request, body, order, entry)
            else:
                response = await _whole(body, order, entry)
        return response

    @contextmanager
    def _booked(self, body: Json, arrived: float) -> Iterator[Entry]:
        name = (last_user_text(body).split() or [""])[0]
        entry = Entry(name, _tenant(body), str(body.get("model")), arrived)
        entry.input_tokens = prompt_tokens(body)
        self.entries.append(entry)
        try:
            yield entry
            entry.whole = True
        finally:
            entry.ended = time.monotonic()


def prompt_tokens(body: Json) -> int:
    """A plausible count: four bytes a token, a few for each message."""
    texts = [_text(message) for message in body["messages"]]
    size = sum(len(text.encode()) for text in texts) + len(orjson.dumps(body.get("tools") or ""))
    return size // BYTES_PER_TOKEN + MESSAGE_TOKENS * len(texts)


def order_of(body: Json) -> Order:
    """What the last user message directs, within the request's limit on output."""
    text = last_user_text(body)
    first, each = _figure(text, "after", 0) / 1000, _figure(text, "each", 0) / 1000
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 1_000_000
    tool = re.search(r"\bcall:(\w+)", text)
    if tool and tool[1] in _offered(body) and body["messages"][-1]["role"] == "user":
        return Order(Reply.tool_call(tool[1]), CALL_TOKENS, first, each)
    wanted = _figure(text, "say", 10)
    made = min(wanted, most)
    reply = Reply.text("word " * made, finish_reason="stop" if made == wanted else "length")
    return Order(reply, made, first, each)


async def _whole(body: Json, order: Order, entry: Entry) -> web.Response:
    await asyncio.sleep(order.first_seconds)
    started = time.monotonic()
    try:
        await asyncio.sleep(order.each_seconds * order.output_tokens)
        entry.output_tokens = order.output_tokens
    except asyncio.CancelledError:
        made = (time.monotonic() - started) / order.each_seconds if order.each_seconds else 0
        entry.output_tokens = min(order.output_tokens, int(made))
        raise
    return _json(completion(order.reply, body, id(entry), _usage(entry)))


async def _stream(
    request: web.Request, body: Json, order: Order, entry: Entry
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await asyncio.sleep(order.first_seconds)
    await response.prepare(request)
    usage = (entry.input_tokens, order.output_tokens)
    for chunk in chunks(order.reply, body, id(entry), usage):
        made = _made(chunk)
        if made:
            await asyncio.sleep(order.each_seconds)
        entry.output_tokens = min(order.output_tokens, entry.output_tokens + made)
        await response.write(b"data: " + orjson.dumps(chunk) + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def _made(chunk: Json) -> int:
    if not chunk["choices"]:
        return 0
    delta = chunk["choices"][0]["delta"]
    return CALL_TOKENS if delta.get("tool_calls") else int(bool(delta.get("content")))


async def _embeddings(request: web.Request) -> web.Response:
    body: Json = orjson.loads(await request.read())
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    vector = [1.0] + [0.0] * (DIMENSIONS - 1)
    rows = [{"object": "embedding", "index": n, "embedding": vector} for n in range(len(texts))]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return _json({"object": "list", "model": body["model"], "data": rows, "usage": usage})


def _usage(entry: Entry) -> tuple[int, int]:
    return entry.input_tokens, entry.output_tokens


def _tenant(body: Json) -> str:
    found = (re.search(r"^tenant_id: (\S+)$", _text(m), re.MULTILINE) for m in body["messages"])
    return next((match[1] for match in found if match), "")


def _text(message: Json) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _offered(body: Json) -> list[str]:
    return [tool["function"]["name"] for tool in body.get("tools") or []]


def _figure(text: str, name: str, default: int) -> int:
    found = re.search(rf"\b{name}:(\d+)", text)
    return int(found[1]) if found else default


def _json(answer: Any) -> web.Response:
    return web.Response(body=orjson.dumps(answer), content_type="application/json")


async def _serve(port: int) -> None:
    app = CountingModel().application()
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"ready http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
