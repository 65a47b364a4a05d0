"""The verification finds every leak that is seeded, and nothing once they are mended."""

import pytest

from server.settings import Settings
from server.stores import Stores
from server.verification.leaks import LEAKS
from server.verification.self_test import self_test
from server.verification.verify import verify
from tests.support.house import settings_of
from tests.support.model_server import ModelServer


@pytest.fixture(scope="module")
def settings(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(tmp_path_factory.mktemp("data"), model)


@pytest.mark.parametrize("leak", LEAKS)
async def test_a_leak_is_found(settings: Settings, stores: Stores, leak: str) -> None:
    [trial] = await self_test(settings, stores, [leak])
    assert trial.found
    assert "the check broke" not in trial.finding


async def test_without_a_leak_there_is_nothing_to_find(settings: Settings, stores: Stores) -> None:
    """Last: all that was seeded before is mended."""
    assert (await verify(settings, stores)).findings == []


def test_there_are_many() -> None:
    assert len(LEAKS) >= 30
