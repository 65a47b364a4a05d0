"""A browser for the tests of the console, and people in it."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from playwright.async_api import Browser, expect

from tenancy.principal import Role
from tests.support.browser import Person, chromium, person_at
from tests.support.house import House


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests; each person in it has a profile of their own."""
    async with chromium() as running:
        yield running


@pytest.fixture
async def person(product: House, browser: Browser) -> AsyncIterator[Person]:
    """Somebody at the console who is not signed in."""
    async with person_at(product, browser) as found:
        yield found


@pytest.fixture
async def tenant(product: House) -> str:
    """A tenant of the test's own."""
    return await product.new_tenant(f"t{uuid4().hex[:12]}")


@pytest.fixture
async def admin(person: Person, tenant: str) -> Person:
    """The admin of a tenant without documents, signed in."""
    await person.signs_in(person.house.token(tenant, "boss", Role.ADMIN))
    await expect(person.page.get_by_role("heading", name="Documents")).to_be_visible()
    return person
