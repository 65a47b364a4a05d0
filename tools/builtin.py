"""The tools every deployment has."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Protocol
from zoneinfo import ZoneInfo

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, tool
from pydantic import BaseModel, Field

from tenancy.document import Found
from tenancy.ids import TenantId
from tenancy.search_filter import SearchFilter
from tenancy.search_setting import SearchSetting
from tools.catalogue import ToolFactory
from tools.gate import SEARCH_KEY
from tools.memory import Keeper, memory_tools

PASSAGES = 5
Zone = Annotated[str, Field(max_length=64, description="IANA time zone, such as Europe/Paris")]


class SearchDocuments(BaseModel):
    """Search this organisation's documents for passages that help to answer."""

    query: str = Field(min_length=1, max_length=1000, description="What to look for")


class Search(Protocol):
    """Finds passages in what one tenant may read."""

    async def search(
        self, tenant_id: TenantId, query: str, limit: int, within: SearchFilter | None = None
    ) -> Found:
        """The `limit` best passages for `query`, of documents that `within` lets through."""


def built_ins(search: Search, keeper: Keeper) -> Sequence[ToolFactory]:
    """The factories of all built-in tools."""
    return (clock(), document_search(search), memory_tools(keeper))


def clock(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> ToolFactory:
    """A factory of `current_time`; `now` gives an aware instant."""

    @tool
    def current_time(timezone: Zone = "UTC") -> str:
        """The current date and time, in a time zone if one is named."""
        zone = _zone(timezone)
        if zone is None:
            return f"There is no time zone {timezone!r}. Name one like Europe/Paris or UTC."
        return f"{now().astimezone(zone):%A %Y-%m-%d %H:%M %Z (UTC%z)}"

    return lambda tenant: [current_time]


def document_search(search: Search) -> ToolFactory:
    """A factory of `search_documents`: the tenant is fixed, where it looks is the assistant's."""

    def factory(tenant: Mapping[str, Any]) -> list[BaseTool]:
        tenant_id: TenantId | None = tenant["tenant_id"]

        async def search_documents(query: str, config: RunnableConfig) -> tuple[str, Found | None]:
            if tenant_id is None:
                return "There are no documents here.", None
            setting: SearchSetting = config["configurable"][SEARCH_KEY]
            limit = setting.limit or PASSAGES  # none beforehand is not none when it is asked for
            found = await search.search(tenant_id, query, limit, setting.within)
            return _readable(found), found

        # Its schema is made once, not for each tenant: that is most of what a tool costs.
        return [
            StructuredTool(
                name="search_documents",
                description=SearchDocuments.__doc__ or "",
                args_schema=SearchDocuments,
                coroutine=search_documents,
                response_format="content_and_artifact",
            )
        ]

    return factory


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of zones
        return None


def _readable(found: Found) -> str:
    # Not numbered: the graph numbers what an answer cites, across all its searches.
    if not found.passages:
        return "Nothing in the documents matches."
    return "\n\n".join(f"{passage.title}\n{passage.text}" for passage in found.passages)
