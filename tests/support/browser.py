"""A person with a browser: Debian's Chromium, driven by Playwright. `make browser` installs it."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    async_playwright,
    expect,
)

from tests.support.house import House

CHROMIUM = shutil.which("chromium")
# Root has no sandbox to start; the rest keeps Chromium from calling home from a closed network.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_MS = 60_000  # a cold disk
PATIENCE_MS = 20_000  # two busy cores
BROKEN_PDF = b"%PDF-1.4\nbroken"

expect.set_options(timeout=PATIENCE_MS)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: `make browser` installs it"
)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a screen."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=FLAGS, timeout=START_MS
        )
        yield browser
        await browser.close()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at the console of a house, in a tab of their own."""

    house: House
    page: Page
    complaints: list[str] = field(default_factory=list)  # of the browser: errors, refused content

    async def opens(self, path: str) -> None:
        """Go to an address."""
        await self.page.goto(f"{self.house.url}{path}")

    async def signs_in(self, credential: str, path: str = "/console") -> None:
        """Go to an address and paste a credential there."""
        await self.opens(path)
        await self.pastes(credential)

    async def pastes(self, credential: str) -> None:
        """Answer the question who one is."""
        await self.page.get_by_label("Token or API key").fill(credential)
        await self.page.get_by_role("button", name="Sign in").click()

    async def searches(self, words: str) -> None:
        """Use the search at the top."""
        await self.page.get_by_label("Search in all documents").fill(words)
        await self.page.get_by_role("button", name="Search").click()

    async def gives(self, *files: tuple[str, bytes]) -> None:
        """Choose files to add."""
        chosen: Any = [
            {"name": name, "mimeType": "application/octet-stream", "buffer": content}
            for name, content in files
        ]
        await self.page.get_by_label("Add files").set_input_files(chosen)

    async def drops(self, name: str, content: str) -> None:
        """Drop a file whose content is what a script makes."""
        await self.page.evaluate(f"""() => {{
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([{content}], "{name}"));
            const options = {{ dataTransfer, bubbles: true, cancelable: true }};
            document.querySelector("h1").dispatchEvent(new DragEvent("drop", options));
        }}""")

    @property
    def rows(self) -> Locator:
        """The documents in the list."""
        return self.page.get_by_role("list", name="Documents", exact=True).locator("> li")

    def row(self, title: str) -> Locator:
        """The document with this title."""
        return self.rows.filter(has=self.page.get_by_role("link", name=title, exact=True))

    @property
    def given(self) -> Locator:
        """What was given, with what became of it."""
        return self.page.get_by_role("list", name="What was given").locator("> li")


@asynccontextmanager
async def person_at(house: House, browser: Browser, **options: Any) -> AsyncIterator[Person]:
    """A person with a fresh browser profile; fails when the browser had to complain."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    person = Person(house, await context.new_page())
    person.page.on("console", lambda message: _hear(person, message))
    person.page.on("pageerror", lambda error: person.complaints.append(_said(error)))
    yield person
    await context.close()
    assert person.complaints == []


def _hear(person: Person, message: ConsoleMessage) -> None:
    """Refused requests are the API's business; refused content and broken scripts are ours."""
    if message.type == "error" and not message.text.startswith("Failed to load resource"):
        person.complaints.append(message.text)


def _said(error: Error) -> str:
    return str(error)
