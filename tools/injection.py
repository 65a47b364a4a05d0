"""What a tool is given beside the model's arguments: LangGraph's store and its runtime."""

from collections.abc import Iterator
from typing import Any, TypeGuard, get_origin

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, InjectedToolCallId
from langgraph.config import get_store
from langgraph.prebuilt import InjectedStore, ToolRuntime
from langgraph.store.base import BaseStore
from pydantic import BaseModel
from pydantic.fields import FieldInfo


def never_given(tool: BaseTool) -> list[str]:
    """The arguments without which the tool cannot run, and which neither model nor gate gives."""
    given = (_is_store, _is_runtime, _is_call_id)
    return [
        name
        for name, field in _hidden(tool)
        if field.is_required() and not any(is_given(field) for is_given in given)
    ]


def injected(tool: BaseTool, call_id: str, config: RunnableConfig) -> dict[str, Any]:
    """The arguments that the gate gives, by name: none of them is the model's to choose."""
    given: dict[str, Any] = {}
    for name, field in _hidden(tool):
        if _is_store(field):
            given[name] = get_store()
        elif _is_runtime(field):
            given[name] = _runtime(call_id, config, get_store())
    return given


def _runtime(call_id: str, config: RunnableConfig, store: BaseStore) -> ToolRuntime[None, Any]:
    """A tool sees neither the thread's state nor its stream, and has no other tools."""
    return ToolRuntime(
        state={},
        context=None,
        config=config,
        stream_writer=_unheard,
        tool_call_id=call_id,
        store=store,
    )


def _unheard(_: Any) -> None:
    return None


def _hidden(tool: BaseTool) -> Iterator[tuple[str, FieldInfo]]:
    """The arguments of a tool that no model is shown."""
    shown, whole = tool.tool_call_schema, tool.get_input_schema()
    if _is_model(shown) and _is_model(whole):
        for name, field in whole.model_fields.items():
            if name not in shown.model_fields:
                yield name, field


def _is_model(schema: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(schema, type) and issubclass(schema, BaseModel)


def _is_marked(field: FieldInfo, mark: type) -> bool:
    return any(each is mark or isinstance(each, mark) for each in field.metadata)


def _is_store(field: FieldInfo) -> bool:
    return _is_marked(field, InjectedStore)


def _is_call_id(field: FieldInfo) -> bool:
    return _is_marked(field, InjectedToolCallId)


def _is_runtime(field: FieldInfo) -> bool:
    return ToolRuntime in (field.annotation, get_origin(field.annotation))
