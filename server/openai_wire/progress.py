"""Whether a stream began, and whether it ended or merely stopped."""

from server.openai_wire.failures import BROKE_OFF, nonsense
from server.openai_wire.shapes import Json, vet_chunk
from server.openai_wire.transport import loads
from tenancy.errors import ModelFailed


class Progress:
    """How far a stream has come."""

    def __init__(self) -> None:
        self.done = False
        self._began = False
        self._finished = False

    def chunks(self, events: list[bytes]) -> list[Json]:
        """The chunks in `events`, up to the one that ends the stream."""
        chunks = []
        for event in events:
            if event.startswith(b"[DONE]"):
                self.done = True
                break
            chunks.append(self._chunk(event))
        return chunks

    def _chunk(self, event: bytes) -> Json:
        chunk = vet_chunk(loads(event))
        for choice in chunk["choices"]:
            self._began = True
            self._finished = self._finished or bool(choice.get("finish_reason"))
        return chunk

    def require_end(self) -> None:
        """Raise `ModelFailed` unless the stream came to an end: some servers send no [DONE]."""
        if not self.done and not self._finished:
            raise ModelFailed(BROKE_OFF)
        if not self._began:
            raise nonsense()
