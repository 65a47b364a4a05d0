"""What the engine knows about a tool beside the tool itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from langchain_core.tools import BaseTool

from tenancy.errors import Invalid, Misconfigured
from tenancy.principal import TENANT_SCOPES, Scope
from tenancy.tenant import ToolSetting

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")  # what model endpoints accept as a function's name
SETTING = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
DEFAULT_TIMEOUT = timedelta(seconds=30)
MAX_TIMEOUT_SECONDS = 600  # a run's hold on the budget lasts no longer
MAX_SETTING_CHARACTERS = 4000
METADATA = ("scope", "requires_approval", "timeout_seconds", "settings")

REQUIRE_APPROVAL = "require_approval"  # the one setting every tool has
NO = ("false", "no", "off", "0", "")


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the catalogue knows it. `settings` maps each key a tenant may set to its meaning.

    `source` is the package it came from, with its version, or `built-in`.
    """

    name: str
    description: str
    scope: Scope
    built_in: bool
    requires_approval: bool
    timeout: timedelta
    settings: Mapping[str, str]
    source: str

    def needs_approval(self, setting: ToolSetting) -> bool:
        """Whether a person confirms each call: the tool asks for it, or the tenant does."""
        said = setting.configuration.get(REQUIRE_APPROVAL)
        return self.requires_approval or (said is not None and said.strip().lower() not in NO)

    def parse_setting(self, key: str, value: str) -> tuple[str, str]:
        """Return a setting as stored; raises `Invalid` for an unknown key or an unusable value."""
        if key != REQUIRE_APPROVAL and key not in self.settings:
            known = ", ".join((*self.settings, REQUIRE_APPROVAL))
            raise Invalid(key, f"is no setting of {self.name}; one of {known}")
        if len(value) > MAX_SETTING_CHARACTERS or "\0" in value:
            raise Invalid(key, f"must be at most {MAX_SETTING_CHARACTERS} characters of text")
        if key == REQUIRE_APPROVAL and value.lower() not in ("true", "false"):
            raise Invalid(key, "must be true or false")
        return key, value


def spec_of(tool: BaseTool, *, built_in: bool, source: str) -> ToolSpec:
    """The spec of a LangChain tool; raises `Misconfigured` saying what is wrong with it."""
    if not NAME.match(tool.name):
        raise Misconfigured(f"tool {tool.name!r}: a name must match [a-zA-Z0-9_-]{{1,64}}")
    if not tool.description.strip():
        raise Misconfigured(f"tool {tool.name!r}: the description is empty")
    metadata = _known(tool.metadata or {}, tool.name)
    return ToolSpec(
        name=tool.name,
        description=tool.description.strip(),
        scope=_scope(metadata.get("scope", Scope.TOOLS_USE), tool.name),
        built_in=built_in,
        requires_approval=_flag(metadata.get("requires_approval", False), tool.name),
        timeout=_timeout(metadata.get("timeout_seconds"), tool.name),
        settings=_settings(metadata.get("settings", {}), tool.name),
        source=source,
    )


def _known(metadata: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    # Strict, because a misspelt `requires_approval` would silently ask nobody.
    if unknown := sorted(str(key) for key in metadata if key not in METADATA):
        raise _fault(name, unknown[0], f"is unknown; one of {', '.join(METADATA)}")
    return metadata


def _scope(value: object, name: str) -> Scope:
    for scope in TENANT_SCOPES:
        if value == scope.value:
            return scope
    raise _fault(name, "scope", f"must be a scope a tenant can hold, not {value!r}")


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise _fault(name, "requires_approval", f"must be True or False, not {value!r}")
    return value


def _timeout(value: object, name: str) -> timedelta:
    if value is None:
        return DEFAULT_TIMEOUT
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _fault(name, "timeout_seconds", f"must be a number, not {value!r}")
    if not 0 < value <= MAX_TIMEOUT_SECONDS:
        limit = f"must be above 0, at most {MAX_TIMEOUT_SECONDS}, not {value!r}"
        raise _fault(name, "timeout_seconds", limit)
    return timedelta(seconds=value)


def _settings(value: object, name: str) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise _fault(name, "settings", "must map each key to what it means")
    for key, meaning in value.items():
        if not (isinstance(key, str) and SETTING.match(key) and isinstance(meaning, str)):
            raise _fault(name, "settings", f"must map names to sentences; {key!r} does not")
        if key == REQUIRE_APPROVAL:
            raise _fault(name, "settings", f"must not name {key!r}: every tool has it")
    return dict(value)


def _fault(name: str, key: str, message: str) -> Misconfigured:
    return Misconfigured(f"tool {name!r}: metadata {key!r} {message}")
