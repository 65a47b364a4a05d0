"""The execution gate: every call of a tool passes here, and what a tool does wrong stops here."""

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.messages import ToolCall
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.tools import BaseTool, StructuredTool, Tool
from langgraph.errors import GraphBubbleUp, is_invalid_resume

from tenancy.component import ActorChain
from tenancy.errors import Invalid, IsolationBreach, NotAuthenticated, require_own
from tenancy.ids import TenantId
from tenancy.principal import Scope
from tenancy.search_setting import SearchSetting
from tools.arguments import model_arguments
from tools.edge import Edge
from tools.injection import injected
from tools.outcome import MAX_NAME, ToolOutcome, capped, failed, outcome_of
from tools.threads import Busy, Threads
from tools.toolbox import Toolbox, Usable

__all__ = ["Gate", "ToolOutcome", "needs_approval"]

log = logging.getLogger(__name__)

# Stream handlers would show a client the text of a tool's exception, and the tokens of models
# that a tool asks in private. Tracers switched on by the environment still see the call.
QUIET = RunnableConfig(callbacks=[])
CONFIG_KEY = "transaction_token"  # where a tool finds its own, in `configurable`
SEARCH_KEY = "search"  # and how the assistant looks things up


class Gate:
    """Runs what the model asks for, if the toolbox holds it; one for the whole process."""

    def __init__(self, edge: Edge, threads: Threads | None = None) -> None:
        self._edge = edge
        self._threads = threads or Threads()

    async def run(
        self,
        call: ToolCall,
        toolbox: Toolbox,
        *,
        tenant_id: TenantId,
        token: str,
        approved: bool = False,
    ) -> ToolOutcome:
        """Answer one call; every failure of the tool is an answer too.

        `token` is the run's transaction token: the tool gets its own, checked as the tool would.
        Raises `IsolationBreach` when the toolbox, or a thing in the tool's artifact, is another
        tenant's. A cancellation and what LangGraph raises to pause a graph pass through.
        """
        require_own(tenant_id, [toolbox.tenant_id], "toolbox")
        name = capped(call["name"], MAX_NAME)
        usable = toolbox.get(call["name"])
        if usable is None:
            return failed(call, "refused", f"The tool `{name}` is not available.")
        if usable.needs_approval and not approved:
            return failed(call, "refused", f"The tool `{name}` needs a person's approval.")
        try:
            args = model_arguments(usable.tool, call["args"])
        except Invalid as error:
            text = f"The arguments of `{name}` are not valid: {error.message}"
            return failed(call, "error", text)
        try:
            own, actors = self._cross(usable, tenant_id, token)
        except NotAuthenticated:
            return failed(call, "refused", f"The tool `{name}` takes no call from this run.")
        config = _config(own, toolbox.search)
        outcome = await self._run_in_time(usable, {**call, "args": args}, tenant_id, config)
        return replace(outcome, actors=actors)

    def _cross(self, usable: Usable, tenant_id: TenantId, token: str) -> tuple[str, ActorChain]:
        """The tool's own token, accepted at its edge, and who acts with it."""
        name, needed = usable.spec.name, frozenset({Scope.TOOLS_USE, usable.spec.scope})
        own = self._edge.delegate(token, tenant_id, name, needed)
        return own, self._edge.verify(own, tenant_id, name, needed)

    async def _run_in_time(
        self, usable: Usable, call: ToolCall, tenant_id: TenantId, config: RunnableConfig
    ) -> ToolOutcome:
        name, seconds = usable.spec.name, usable.spec.timeout.total_seconds()
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                said = await self._invoke(usable.tool, call, tenant_id, config)
            return outcome_of(call, said, tenant_id)
        except (GraphBubbleUp, IsolationBreach):
            raise
        except Busy:
            return failed(call, "error", f"The tool `{name}` is busy. Try again later.")
        except (Exception, SystemExit) as error:  # another's code: it never ends a run
            if is_invalid_resume(error):
                raise
            if deadline.expired():
                text = f"The tool `{name}` did not answer within {seconds:g} seconds."
                return failed(call, "timeout", text)
            log.debug("tool_failed", exc_info=True, extra={"tool": name, "tenant_id": tenant_id})
            # The class alone: the text may quote a secret of the tenant or of the deployment.
            return failed(call, "error", f"The tool `{name}` failed: {type(error).__name__}.")

    async def _invoke(
        self, tool: BaseTool, call: ToolCall, tenant_id: TenantId, config: RunnableConfig
    ) -> Any:
        call_id = call["id"] or ""
        args = {**call["args"], **injected(tool, call_id, config)}
        request: Any = {**call, "args": args, "id": call_id, "type": "tool_call"}
        if _blocks(tool):
            return await self._threads.run(tenant_id, partial(tool.invoke, request, config))
        return await tool.ainvoke(request, config)


def needs_approval(call: ToolCall, toolbox: Toolbox) -> bool:
    """Whether a person must approve before the gate runs the call."""
    usable = toolbox.get(call["name"])
    return usable is not None and usable.needs_approval


def _config(own: str, search: SearchSetting) -> RunnableConfig:
    config = ensure_config(QUIET)  # with what LangGraph needs for an interrupt
    # Behind a call, because LangChain copies plain text from here into metadata, which is traced.
    added = {CONFIG_KEY: lambda: own, SEARCH_KEY: search}
    config["configurable"] = {**config.get("configurable", {}), **added}
    return config


def _blocks(tool: BaseTool) -> bool:
    if isinstance(tool, StructuredTool | Tool):
        return tool.coroutine is None
    return type(tool)._arun is BaseTool._arun
