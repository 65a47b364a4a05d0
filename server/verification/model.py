"""The model of a verification: it writes down its prompts, and calls the tool it is told to."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from server.models import DeploymentModels
from server.verification.rivals import Observer, Rival

CALL = "please call the tool "  # and its name, and JSON of its arguments


class ListeningModel(BaseChatModel):
    """Repeats the last thing a person said, or calls the tool that it names."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    observer: Observer

    @property
    def _llm_type(self) -> str:
        return "listening"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages, options))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._answer(messages, options)):
            said = ChatGenerationChunk(message=chunk)
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=said)
            yield said

    def _answer(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> AIMessage:
        rival = self._heard(messages, options)
        asked = [message for message in messages if isinstance(message, HumanMessage)]
        text = asked[-1].text if asked else ""
        known = rival.canary("persona") if rival else "nothing"  # models tell what they were told
        answer = AIMessage(f"You said: {text}. I am {known}.")
        if isinstance(messages[-1], HumanMessage) and CALL in text:
            name, _, arguments = text.partition(CALL)[2].partition(" ")
            call = {"name": name, "args": json.loads(arguments), "id": f"call_{uuid4().hex[:16]}"}
            answer = AIMessage("", tool_calls=[call])
        answer.usage_metadata = UsageMetadata(input_tokens=9, output_tokens=9, total_tokens=18)
        answer.response_metadata = {"model_name": "verification", "finish_reason": "stop"}
        if rival is not None:
            self.observer.saw(rival, "answers of the model", answer.model_dump_json())
        return answer

    def _heard(self, messages: Sequence[BaseMessage], options: dict[str, Any]) -> Rival | None:
        """Whose prompt it is: its system message names exactly one tenant."""
        named = [r for r in self.observer.rivals if r.tenant_id in messages[0].text]
        if len(named) != 1:
            who = "no tenant" if not named else "both tenants"
            self.observer.found("prompts", f"a prompt at the model names {who}")
            return None
        written = json.dumps([message.model_dump(mode="json") for message in messages])
        self.observer.saw(named[0], "prompts", written)
        self.observer.saw(named[0], "tools shown to the model", json.dumps(options, default=str))
        return named[0]


def _chunks(message: AIMessage) -> list[AIMessageChunk]:
    """In pieces smaller than a canary: what is looked for may be split anywhere."""
    text = message.text
    pieces = [AIMessageChunk(content=text[start : start + 7]) for start in range(0, len(text), 7)]
    calls = [
        tool_call_chunk(name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=0)
        for call in message.tool_calls
    ]
    last = AIMessageChunk(
        content="",
        tool_call_chunks=calls,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
    return [*pieces, last]


class ListeningModels(DeploymentModels):
    """The deployment's models, of which the one that chats listens."""

    observer: Observer

    def get(self, name: str) -> BaseChatModel:
        """The listening model, by whatever name."""
        return ListeningModel(observer=self.observer)
