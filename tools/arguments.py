"""The arguments of a call: only what the model was shown, and only if it fits."""

import re
from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, Tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel, ValidationError

from tenancy.errors import Invalid, Misconfigured
from tools.injection import never_given

MAX_FAULTS = 5  # enough for the model to mend its call
# Texts of a tool's own validators, not made from the schema the model was shown.
WRITTEN_BY_TOOL = ("value_error", "assertion_error")

JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def model_arguments(tool: BaseTool, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments a tool may receive; raises `Invalid` with a text the model can act on.

    What the model was not shown is dropped: an unknown name, or a forged injected argument.
    """
    try:
        return _checked(tool, args)
    except Invalid:
        raise
    except ValidationError as error:
        raise Invalid("args", _faults(error)) from None
    except Exception as error:  # a validator is the tool's own code
        raise Invalid("args", f"checking them failed: {type(error).__name__}") from None


def require_callable(tool: BaseTool) -> None:
    """Raise `Misconfigured` unless the model can call the tool and the gate can run it."""
    if tool.args_schema is None and isinstance(tool, Tool):
        raise Misconfigured(f"tool {tool.name!r}: it takes one unnamed text; give it args_schema")
    schema = tool.tool_call_schema
    if not isinstance(schema, dict) and not issubclass(schema, BaseModel):
        raise Misconfigured(f"tool {tool.name!r}: args_schema must be of pydantic 2 or JSON schema")
    if hidden := never_given(tool):
        raise Misconfigured(f"tool {tool.name!r}: nobody gives it the argument {hidden[0]!r}")
    convert_to_openai_tool(tool)  # raises here what would otherwise fail every run of the tenant


def _checked(tool: BaseTool, args: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.tool_call_schema
    if isinstance(schema, dict):
        return _by_json_schema(schema, args)
    if not issubclass(schema, BaseModel):
        raise Invalid("args", "cannot be checked")
    kept = {name: value for name, value in args.items() if name in schema.model_fields}
    schema.model_validate(kept)
    return kept


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(_fault(fault) for fault in faults[:MAX_FAULTS])


def _fault(fault: Mapping[str, Any]) -> str:
    message = "is not valid" if fault["type"] in WRITTEN_BY_TOOL else fault["msg"]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {message}"


def _by_json_schema(schema: Mapping[str, Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Top level only: names, types, enumerations and patterns; the tool checks what is deeper."""
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in args:
            raise Invalid("args", f"{name}: Field required")
    kept = {name: value for name, value in args.items() if name in properties}
    for name, value in kept.items():
        _check(name, value, properties[name])
    return kept


def _check(name: str, value: Any, schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_of(value, kind) for kind in kinds):
        raise Invalid("args", f"{name}: must be of type {' or '.join(kinds)}")
    if "enum" in schema and value not in schema["enum"]:
        raise Invalid("args", f"{name}: must be one of {', '.join(map(str, schema['enum']))}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        raise Invalid("args", f"{name}: must match {schema['pattern']}")


def _is_of(value: Any, kind: str) -> bool:
    if isinstance(value, bool):  # a bool is an int in Python, not in JSON
        return kind == "boolean"
    return isinstance(value, JSON_TYPES.get(kind, (object,)))
