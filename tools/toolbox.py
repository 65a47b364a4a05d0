"""Which tools a principal may use now."""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from tenancy.errors import TenantMismatch
from tenancy.ids import TenantId
from tenancy.principal import Principal, Scope
from tenancy.search_setting import UNSAID, SearchSetting
from tenancy.tenant import Tenant, ToolSetting
from tools.catalogue import Catalogue
from tools.memory import MEMORY_TOOLS
from tools.spec import ToolSpec

MANY = 16  # beyond this, models choose worse and every prompt pays for the schemas
CAPACITY = 1024  # tenants whose tools are kept built
WORD = re.compile(r"[^\W_]+")
NEVER_DECIDED = ToolSetting()

Settings = Mapping[str, ToolSetting]


@dataclass(frozen=True, slots=True)
class Usable:
    """A tool built for one tenant, with what the gate must know to run it."""

    spec: ToolSpec
    tool: BaseTool
    needs_approval: bool
    schema: Mapping[str, Any]  # as models are shown it; made once, because deriving it is slow


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool as `GET /v1/tools` shows it."""

    name: str
    description: str
    enabled: bool
    scope: Scope


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools one principal may use now, built for its tenant, in the catalogue's order.

    `search` is how the assistant at hand looks things up: a tool is built for all of a tenant's.
    """

    tenant_id: TenantId
    usable: Mapping[str, Usable]
    search: SearchSetting = UNSAID

    def names(self) -> tuple[str, ...]:
        """The names of all tools."""
        return tuple(self.usable)

    def tools(self, names: Iterable[str] | None = None) -> tuple[BaseTool, ...]:
        """The tools to show the model: all, or those of `names` that are in the toolbox."""
        chosen = self.names() if names is None else names
        return tuple(self.usable[name].tool for name in chosen if name in self.usable)

    def schemas(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """The tools of `names` that are in the toolbox, as models are shown them."""
        return [dict(self.usable[name].schema) for name in names if name in self.usable]

    def get(self, name: str) -> Usable | None:
        """The tool of that name, or None when this principal may not use it."""
        return self.usable.get(name)

    def closest(self, question: str, limit: int = MANY) -> tuple[str, ...]:
        """All names, or when there are more than `MANY` the `limit` closest to `question`.

        Closest first; rare shared words count for more, and equals keep the catalogue's order.
        """
        if len(self.usable) <= MANY:
            return self.names()
        words = {
            name: _words(f"{name} {each.tool.description}") for name, each in self.usable.items()
        }
        spread = Counter(word for own in words.values() for word in own)
        asked = _words(question)
        closeness = {
            name: sum(1 / spread[word] for word in asked & own) for name, own in words.items()
        }
        return tuple(sorted(words, key=lambda name: -closeness[name])[:limit])


class Toolboxes:
    """Makes toolboxes, and keeps what was built for a tenant until its tools' settings change."""

    def __init__(self, catalogue: Catalogue, *, capacity: int = CAPACITY) -> None:
        self._catalogue = catalogue
        self._capacity = capacity
        self._built: OrderedDict[TenantId, tuple[Settings, Mapping[str, Usable]]] = OrderedDict()

    def of(self, tenant: Tenant, principal: Principal) -> Toolbox:
        """The principal's toolbox: settings ∩ entitlements ∩ scopes; raises `TenantMismatch`."""
        _require_same(tenant, principal)
        specs = [spec for spec in self._catalogue.specs() if _may_use(tenant, principal, spec)]
        built = self._usable(tenant) if specs else {}
        mine = {spec.name: built[spec.name] for spec in specs if spec.name in built}
        return Toolbox(tenant.tenant_id, mine, tenant.effective.search)

    def listing(self, tenant: Tenant, principal: Principal) -> Sequence[Listed]:
        """The tools the tenant's plan entitles to, and whether each is enabled for the tenant."""
        _require_same(tenant, principal)
        return [
            Listed(spec.name, spec.description, is_enabled(tenant, spec), spec.scope)
            for spec in self._catalogue.specs()
            if is_entitled(tenant, spec)
        ]

    def _usable(self, tenant: Tenant) -> Mapping[str, Usable]:
        kept = self._built.pop(tenant.tenant_id, None)
        if kept is None or kept[0] != tenant.tools:  # the rest of its record changes nothing here
            kept = (tenant.tools, self._build(tenant))
        self._built[tenant.tenant_id] = kept
        if len(self._built) > self._capacity:
            self._built.popitem(last=False)
        return kept[1]

    def _build(self, tenant: Tenant) -> Mapping[str, Usable]:
        built = self._catalogue.build(tenant)
        return {
            spec.name: Usable(
                spec,
                built[spec.name],
                spec.needs_approval(_setting(tenant, spec)),
                convert_to_openai_tool(built[spec.name]),
            )
            for spec in self._catalogue.specs()
            if spec.name in built
        }


def is_entitled(tenant: Tenant, spec: ToolSpec) -> bool:
    """Whether the tenant's plan includes the tool."""
    if spec.name in MEMORY_TOOLS and not tenant.plan.memories:
        return False
    return tenant.plan.allows_tool(spec.name, built_in=spec.built_in)


def is_enabled(tenant: Tenant, spec: ToolSpec) -> bool:
    """Whether the tool is on for the tenant: its own decision, else built-in tools only."""
    decided = _setting(tenant, spec).enabled
    return is_entitled(tenant, spec) and (spec.built_in if decided is None else decided)


def _may_use(tenant: Tenant, principal: Principal, spec: ToolSpec) -> bool:
    # `tools:use` is always needed: a plugin's own scope may narrow who uses it, never widen.
    if not tenant.effective.allows_tool(spec.name):
        return False
    return is_enabled(tenant, spec) and {Scope.TOOLS_USE, spec.scope} <= principal.scopes


def _setting(tenant: Tenant, spec: ToolSpec) -> ToolSetting:
    return tenant.tools.get(spec.name, NEVER_DECIDED)


def _require_same(tenant: Tenant, principal: Principal) -> None:
    if tenant.tenant_id != principal.tenant_id:
        raise TenantMismatch("The principal belongs to another tenant.")


def _words(text: str) -> set[str]:
    return set(WORD.findall(text.casefold()))
