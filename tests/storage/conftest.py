"""What the tests of `storage` stand on: the cells and the saver of one process."""

from collections.abc import AsyncIterator

import pytest

from server.stores import Stores
from storage.cells import Cells
from storage.checkpointer import TenantPostgresSaver
from storage.threads import PostgresThreads
from tests.storage.makers import Trips, open_cells


@pytest.fixture(scope="module")
def trips() -> Trips:
    return Trips()


@pytest.fixture(scope="module")
async def cells(stores: Stores, trips: Trips) -> AsyncIterator[Cells]:
    async with open_cells(stores, trips) as cells:
        yield cells


@pytest.fixture(scope="module")
async def saver(cells: Cells) -> TenantPostgresSaver:
    return TenantPostgresSaver(cells)


@pytest.fixture(scope="module")
def threads(cells: Cells, saver: TenantPostgresSaver) -> PostgresThreads:
    return PostgresThreads(cells, saver)
