"""How many files of a tenant this process has in memory: what is beyond waits on disk."""

import asyncio
from weakref import WeakValueDictionary

from tenancy.ids import TenantId

AT_ONCE = 4  # of a tenant: 100 MiB


class InHand:
    """Lets so many files of each tenant be taken in at once; the others wait for their turn."""

    def __init__(self) -> None:
        self._turns: WeakValueDictionary[TenantId, asyncio.Semaphore] = WeakValueDictionary()

    def turn(self, tenant_id: TenantId) -> asyncio.Semaphore:
        """To be held while a file of the tenant is in memory."""
        return self._turns.setdefault(tenant_id, asyncio.Semaphore(AT_ONCE))
