"""What langchain-openai is handed: the least that passes for the SDK's own objects."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import openai
from pydantic import PrivateAttr

from server.openai_wire.shapes import Json


class Raw:
    """A raw response that was parsed already."""

    headers: Mapping[str, str] = {}

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def parse(self) -> Any:
        """The answer."""
        return self._answer


class Completion(openai.BaseModel):
    """A completion in its plain form, with the one attribute langchain-openai looks up on it."""

    choices: list[Any]
    _plain: Json = PrivateAttr(default_factory=dict)

    @classmethod
    def of(cls, answer: Json) -> "Completion":
        """The completion that a vetted answer is."""
        refusal = answer["choices"][0]["message"].get("refusal")
        completion = cls.model_construct(choices=[Choice(refusal)])
        completion._plain = answer
        return completion

    def model_dump(self, **_options: Any) -> Json:
        """The answer as it came."""
        return self._plain


class Choice:
    """A choice whose message says whether the model refused; it is its own message."""

    def __init__(self, refusal: str | None) -> None:
        self.refusal = refusal

    @property
    def message(self) -> "Choice":
        """The message."""
        return self


class Chunks:
    """A stream that is closed when it is left, also halfway."""

    def __init__(self, chunks: AsyncGenerator[Json, None]) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> AsyncGenerator[Json, None]:
        return self._chunks

    async def __aexit__(self, *error: object) -> None:
        await self._chunks.aclose()
