"""Models of a deployment that answer what they are told to, for the graph's own decisions."""

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_core.messages import AIMessage

from server.breakers import Breakers


class Answering:
    """Implements the port `Models`: each call is answered by `answer`, and remembered."""

    def __init__(self, answer: Callable[[], Any], default: str = "test") -> None:
        self.default = default
        self.breakers = Breakers()
        self.answer = answer
        self.prompts: list[str] = []
        self.options: list[dict[str, Any]] = []

    def get(self, name: str) -> Any:
        return self

    async def ainvoke(self, prompt: Any, **options: Any) -> Any:
        self.prompts.append("\n".join(message.text for message in prompt))
        self.options.append(options)
        said = self.answer()
        return await said if asyncio.iscoroutine(said) else said


def saying(text: str, finish_reason: str = "stop") -> Callable[[], AIMessage]:
    """An answer of 50 tokens in and 5 out."""

    def answer() -> AIMessage:
        message = AIMessage(text, response_metadata={"finish_reason": finish_reason})
        message.usage_metadata = {"input_tokens": 50, "output_tokens": 5, "total_tokens": 55}
        return message

    return answer
