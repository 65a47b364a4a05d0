"""What the graph emits, as the events a client reads."""

import asyncio
from collections.abc import AsyncIterator, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage

from graph.notes import notes_of
from server.problems import problem_of
from tenancy.citation import KnownMarks
from tenancy.errors import TenantryError
from tenancy.ids import RunId, ThreadId


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `run`, `degraded`, `token`, `tool`, `citation`, `interrupt`, `done` or `error`."""

    kind: str
    payload: Mapping[str, Any]

    ENDS: ClassVar[frozenset[str]] = frozenset({"done", "error"})

    @classmethod
    def of_error(cls, error: TenantryError) -> "Event":
        """The problem document that ends a stream."""
        return cls("error", problem_of(error).document())

    def frame(self, number: int) -> bytes:
        """As server-sent events (WHATWG HTML, 9.2) carry it."""
        return b"id: %d\nevent: %b\ndata: %b\n\n" % (
            number,
            self.kind.encode(),
            orjson.dumps(self.payload),
        )


class EventLog:
    """The events of one run, in order, for one reader who may come late or go away."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self.ended: asyncio.Event = asyncio.Event()
        self.last: Event | None = None

    def add(self, event: Event) -> None:
        """Append an event."""
        self._queue.put_nowait(event)

    def forget(self) -> None:
        """Drop what the reader has not been given yet."""
        while not self._queue.empty():
            self._queue.get_nowait()

    def end(self, event: Event) -> None:
        """Append the one event that ends the run."""
        if self.last is None:
            self.last = event
            self._queue.put_nowait(event)
            self.ended.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._queue.get()
            yield event
            if event.kind in Event.ENDS:
                return


def opening(run_id: RunId, thread_id: ThreadId) -> Event:
    """The first event: it names the run and the thread."""
    return Event("run", {"run_id": str(run_id), "thread_id": str(thread_id)})


@dataclass(slots=True)
class Translator:
    """Turns the parts of one run into events, and remembers its answer.

    `citable` are the numbers of the passages that the model is shown at the time.
    """

    citable: Container[int]
    answers: list[AIMessage] = field(default_factory=list)
    interrupt: Mapping[str, Any] | None = None
    _tokens_sent: bool = False
    _marks: KnownMarks = field(init=False)

    def __post_init__(self) -> None:
        self._marks = KnownMarks(self.citable)

    def events(self, part: Mapping[str, Any]) -> Iterator[Event]:
        """The events that one typed part of LangGraph's stream (version 2) amounts to."""
        if part["type"] == "messages":
            yield from self._tokens(*part["data"])
        elif part["type"] == "updates":
            for node, update in part["data"].items():
                yield from self._update(node, update)

    def _tokens(self, chunk: object, metadata: Mapping[str, Any]) -> Iterator[Event]:
        if metadata.get("langgraph_node") != "respond" or not isinstance(chunk, AIMessageChunk):
            return
        if chunk.text:
            self._tokens_sent = True
            yield from _token(self._marks.feed(chunk.text))

    def _update(self, node: str, update: Any) -> Iterator[Event]:
        if node == "__interrupt__":
            self.interrupt = update[0].value
            yield Event("interrupt", update[0].value)
        elif node == "respond":
            yield from self._said(update["messages"][-1])
        elif node == "run_tools" and update:
            for message in update["messages"]:
                yield from self._ran(message)

    def _said(self, message: AIMessage) -> Iterator[Event]:
        self.answers.append(message)
        sent, self._tokens_sent = self._tokens_sent, False
        yield from _token(self._marks.end())
        if not sent:  # words of our own, or of a model that does not stream
            yield from _token(message.text)
        for call in message.tool_calls:
            yield Event("tool", {"name": call["name"], "status": "started"})
        for citation in notes_of(message).get("citations", []):
            yield Event("citation", citation)

    def _ran(self, message: object) -> Iterator[Event]:
        if isinstance(message, ToolMessage):
            status = notes_of(message).get("status", message.status)
            yield Event("tool", {"name": message.name or "", "status": status})


def _token(text: str) -> Iterator[Event]:
    if text:
        yield Event("token", {"text": text})


def retold(answer: Mapping[str, Any]) -> Iterator[Event]:
    """The events of a run that is over, from its answer: all but the last."""
    yield Event("run", {name: answer[name] for name in ("run_id", "thread_id")})
    if "degraded" in answer:
        yield Event("degraded", {"steps": answer["degraded"]})
    yield from _token(answer["answer"])
    for citation in answer["citations"]:
        yield Event("citation", citation)
    if "interrupt" in answer:
        yield Event("interrupt", answer["interrupt"])
