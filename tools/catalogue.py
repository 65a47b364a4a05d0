"""Every tool of this deployment: the built-in ones and those of installed plugins."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from langchain_core.tools import BaseTool

from tenancy.errors import Misconfigured
from tenancy.ids import TenantId
from tenancy.tenant import Tenant, ToolSetting
from tools.arguments import require_callable
from tools.spec import REQUIRE_APPROVAL, ToolSpec, spec_of

log = logging.getLogger(__name__)

GROUP = "tenantry.tools"
BUILT_IN = "built-in"

# Called with {"tenant_id": str | None, "configuration": {tool: {key: value}}}.
ToolFactory = Callable[[Mapping[str, Any]], Sequence[BaseTool]]


@dataclass(frozen=True, slots=True)
class Source:
    """A factory and the specs of the tools it declared: it may never build any other."""

    label: str
    factory: ToolFactory
    specs: Mapping[str, ToolSpec]


class Catalogue:
    """The tools there are. `problems` says, one sentence each, which plugins were skipped and why.

    Names are unique. Built-in tools come first, then plugins by the name of their entry point.
    """

    def __init__(self, sources: Sequence[Source], problems: Sequence[str] = ()) -> None:
        self._sources = tuple(sources)
        self._specs = {name: spec for source in sources for name, spec in source.specs.items()}
        self.problems = list(problems)

    @classmethod
    def discover(
        cls, built_ins: Sequence[ToolFactory], plugins: Iterable[EntryPoint] | None = None
    ) -> "Catalogue":
        """Ask every factory what it offers; `plugins` are the installed ones unless given.

        A plugin that fails, or names a tool there already is, is skipped whole.
        """
        sources = [_declare(factory, BUILT_IN, built_in=True) for factory in built_ins]
        problems: list[str] = []
        _require_new(sources)
        found = entry_points(group=GROUP) if plugins is None else plugins
        for plugin in sorted(found, key=lambda each: (each.name, each.value)):
            try:
                source = _declare(plugin.load(), _label(plugin), built_in=False)
                _require_new([*sources, source])
            except (Exception, SystemExit) as error:  # another's code: it must not stop the server
                problems.append(
                    f"plugin {plugin.name!r} is skipped: {type(error).__name__}: {error}"
                )
            else:
                sources.append(source)
        return cls(sources, problems)

    def specs(self) -> Collection[ToolSpec]:
        """The specs of all tools, in the catalogue's order."""
        return self._specs.values()

    def spec(self, name: str) -> ToolSpec | None:
        """The spec of one tool, or None when there is no such tool."""
        return self._specs.get(name)

    def build(self, tenant: Tenant) -> Mapping[str, BaseTool]:
        """The tools made for one tenant; a factory that fails for it loses only its own."""
        built: dict[str, BaseTool] = {}
        for source in self._sources:
            built.update(_build(source, tenant))
        return built


def _declare(factory: ToolFactory, label: str, *, built_in: bool) -> Source:
    made = _make(factory, None, {})
    specs = {name: spec_of(tool, built_in=built_in, source=label) for name, tool in made.items()}
    return Source(label, factory, specs)


def _build(source: Source, tenant: Tenant) -> Mapping[str, BaseTool]:
    own = {name: _settings(tenant.tools.get(name)) for name in source.specs}
    try:
        made = _make(source.factory, tenant.tenant_id, own)
    except (Exception, SystemExit) as error:  # another's code; its text may quote a secret
        details = {"source": source.label, "error": type(error).__name__}
        log.warning("tool_factory_failed", extra={"tenant_id": tenant.tenant_id, **details})
        return {}
    return {name: tool for name, tool in made.items() if name in source.specs}


def _make(
    factory: ToolFactory, tenant_id: TenantId | None, configuration: Mapping[str, Mapping[str, str]]
) -> dict[str, BaseTool]:
    made: dict[str, BaseTool] = {}
    for tool in factory({"tenant_id": tenant_id, "configuration": configuration}):
        if not isinstance(tool, BaseTool):
            raise Misconfigured(f"{type(tool).__name__} is no LangChain tool")
        if tool.name in made:
            raise Misconfigured(f"tool {tool.name!r} is named twice")
        require_callable(tool)
        made[tool.name] = tool
    return made


def _settings(setting: ToolSetting | None) -> dict[str, str]:
    # A copy: what a plugin does to it stays with the plugin.
    configuration = setting.configuration if setting else {}
    return {key: value for key, value in configuration.items() if key != REQUIRE_APPROVAL}


def _require_new(sources: Sequence[Source]) -> None:
    seen: dict[str, str] = {}
    for source in sources:
        for name in source.specs:
            if name in seen:
                raise Misconfigured(f"tool {name!r} is already provided by {seen[name]}")
            seen[name] = source.label


def _label(plugin: EntryPoint) -> str:
    return f"{plugin.dist.name} {plugin.dist.version}" if plugin.dist else plugin.value
