"""The store of runs in Studio: the house's own, where LangGraph's would be one for all tenants."""

from collections.abc import Callable, Iterable

from langgraph.store.base import BaseStore, Op, Result

from tenancy.errors import Misconfigured


class StudioStore(BaseStore):
    """Stands for the house's store from before the house is open."""

    supports_ttl = False

    def __init__(self, of_house: Callable[[], BaseStore]) -> None:
        self._of_house = of_house

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations, from a thread."""
        return self._of_house().batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Run operations."""
        return await self._of_house().abatch(ops)


def require_own_store(given: BaseStore) -> None:
    """Raise `Misconfigured` where tools would be given a store that tenants share."""
    if not isinstance(given, StudioStore):
        raise Misconfigured("langgraph.json does not name ./server/studio.py:store as its store.")
