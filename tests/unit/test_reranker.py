"""A search whose passages cannot be put in an order answers with the one it has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from server.reranking import Ranking, Reranker
from tenancy.errors import QuotaExceeded, TenantryError, TenantSuspended, Unavailable
from tests.unit.graph.test_reranking import passages
from tests.unit.graph.turn import principal

UNUSED: Any = None  # models: the turn is refused before one is asked


class Refusing:
    """Asides that begin no turn."""

    def __init__(self, error: TenantryError) -> None:
        self.error = error

    @asynccontextmanager
    async def turn(self, *_: object, **__: object) -> AsyncIterator[None]:
        raise self.error
        yield


@pytest.mark.parametrize(
    "error", [QuotaExceeded("queue", timedelta(seconds=1)), Unavailable()], ids=["full", "away"]
)
async def test_where_no_model_can_be_asked_the_order_stays(error: TenantryError) -> None:
    asides: Any = Refusing(error)
    found = passages(3)
    assert await Reranker(asides, UNUSED).ranking(principal(), "why?", found) == Ranking(found)


async def test_a_tenant_that_is_not_served_any_more_gets_no_answer() -> None:
    asides: Any = Refusing(TenantSuspended())
    with pytest.raises(TenantSuspended):
        await Reranker(asides, UNUSED).ranking(principal(), "why?", passages(3))
