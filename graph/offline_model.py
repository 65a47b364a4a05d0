"""The model of last resort: it quotes the tenant's own passages, without weights or a network."""

import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    CallbackManagerForLLMRun,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import Field

from graph.offline_extract import Embed, best_sentences
from graph.offline_sentences import passages_of, quotables
from graph.offline_tools import pick_tool

OFFLINE_MODEL = "offline-extractive"
NOTHING_FOUND = "I found nothing in your documents that answers that."
BYTES_A_TOKEN = 4  # what English text comes to; an estimate, and named as the model's own figure


class OfflineChatModel(BaseChatModel):
    """Answers with sentences from the passages in its prompt, each followed by ` [n]`.

    `embed` turns texts into vectors of one model; what it raises leaves unchanged. Only the
    asynchronous calls work.
    """

    embed: Embed = Field(exclude=True, repr=False)
    model_name: str = OFFLINE_MODEL

    @property
    def _llm_type(self) -> str:
        return OFFLINE_MODEL

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools it may call; `tool_choice="none"` keeps it from calling any."""
        described = [convert_to_openai_tool(tool) for tool in tools]
        return self.bind(tools=described, tool_choice=tool_choice, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError(f"{OFFLINE_MODEL} is asynchronous: use ainvoke or astream")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = await self._answer(messages, stop, **kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(await self._answer(messages, stop, **kwargs)):
            generation = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                await run_manager.on_llm_new_token(generation.text, chunk=generation)
            yield generation

    async def _answer(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        *,
        tools: Sequence[dict[str, Any]] = (),
        tool_choice: str | None = None,
        max_tokens: int | None = None,
        **_options: Any,
    ) -> AIMessage:
        question, results = _last_turn(messages)
        call = None if results or tool_choice == "none" else pick_tool(question, tools)
        if call is not None:
            return _message(messages, AIMessage("", tool_calls=[call]), "tool_calls")
        text = await self._text(question, messages, results)
        cut = _cut(text, stop, max_tokens)
        return _message(messages, AIMessage(cut), "stop" if cut == text else "length")

    async def _text(
        self, question: str, messages: list[BaseMessage], results: list[ToolMessage]
    ) -> str:
        reports = [str(result.text) for result in results if not passages_of(str(result.text))]
        if reports:
            return "\n".join(reports)
        sources = [message for message in messages if isinstance(message, SystemMessage)] + results
        passages = [passage for source in sources for passage in passages_of(str(source.text))]
        best = await best_sentences(question, quotables(passages), self.embed)
        return " ".join(f"{quoted.text} [{quoted.number}]" for quoted in best) or NOTHING_FOUND


def _last_turn(messages: list[BaseMessage]) -> tuple[str, list[ToolMessage]]:
    results: list[ToolMessage] = []
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            return str(message.text), results[::-1]
        if isinstance(message, ToolMessage):
            results.append(message)
    return "", results[::-1]


def _cut(text: str, stop: list[str] | None, max_tokens: int | None) -> str:
    for mark in stop or ():
        text = text.split(mark, 1)[0]
    if max_tokens is None:
        return text
    return text.encode()[: max_tokens * BYTES_A_TOKEN].decode(errors="ignore").rstrip()


def _message(prompt: list[BaseMessage], answer: AIMessage, finish_reason: str) -> AIMessage:
    sent, said = _tokens(*map(_written, prompt)), _tokens(_written(answer))
    answer.usage_metadata = UsageMetadata(
        input_tokens=sent, output_tokens=said, total_tokens=sent + said
    )
    answer.response_metadata = {"model_name": OFFLINE_MODEL, "finish_reason": finish_reason}
    return answer


def _written(message: BaseMessage) -> str:
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    return str(message.text) + "".join(call["name"] + json.dumps(call["args"]) for call in calls)


def _tokens(*texts: str) -> int:
    return -(-sum(len(text.encode("utf-8", "surrogatepass")) for text in texts) // BYTES_A_TOKEN)


def _chunks(message: AIMessage) -> list[AIMessageChunk]:
    words = re.findall(r"\S+\s*|\s+", str(message.text))
    calls = [
        tool_call_chunk(
            name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=position
        )
        for position, call in enumerate(message.tool_calls)
    ]
    chunks = [AIMessageChunk(content=word) for word in words]
    if calls:
        chunks.append(AIMessageChunk(content="", tool_call_chunks=calls))
    end = AIMessageChunk(
        content="",
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
    return [*chunks, end]
