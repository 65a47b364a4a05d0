"""Which model a tenant's passages, or its memories, are embedded with."""

from knowledge.ports import Embedder, Served
from tenancy.ids import TenantId


class Embedders:
    """The deployment's model, and its former one for tenants whose vectors are still of that.

    A search must ask with the model of what it looks through, and what is added meanwhile must be
    found beside it: both ask here.
    """

    def __init__(
        self, current: Embedder, former: Embedder | None = None, served: Served | None = None
    ) -> None:
        self.current = current
        self._former = former
        self._served = served

    async def of(self, tenant_id: TenantId) -> Embedder:
        """The model of a tenant's vectors; raises `Unavailable`."""
        if self._former is None or self._served is None:
            return self.current
        former = await self._served.has_model(tenant_id, self._former.model)
        return self._former if former else self.current

    def named(self, model: str) -> Embedder:
        """The model of this name, of the two."""
        if self._former is not None and self._former.model == model:
            return self._former
        return self.current
