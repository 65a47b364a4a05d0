"""The console in a real browser: who is shown what, and that text stays text."""

import asyncio

import httpx
import pytest
from playwright.async_api import Browser, expect

from tenancy.principal import Role
from tests.support.browser import BROKEN_PDF, Person, needs_chromium, person_at
from tests.support.documents import add, passages_of, zipped
from tests.support.house import House

pytestmark = needs_chromium

MARKUP = '<img src=x onerror="window.pwned = 1"><script>window.pwned = 2</script>'


async def ended(client: httpx.AsyncClient, credential: str) -> None:
    """Return when a credential does not hold any more: it takes a second at most."""
    headers = {"Authorization": f"Bearer {credential}"}
    for _ in range(100):
        if (await client.get("/v1/quota", headers=headers)).status_code == 401:
            return
        await asyncio.sleep(0.1)
    pytest.fail("it holds for ever")


class TestWhoIsThere:
    async def test_a_stranger_is_asked_and_shown_nothing(
        self, product: House, person: Person
    ) -> None:
        document = await add(product, "acme", "secret.md", "# Secret\n\nstrangercanary")
        shown = f"/console/documents/{document}"
        for path in ("/console", shown, "/console/search#strangercanary"):
            await person.opens(path)
            await expect(person.page.get_by_label("Token or API key")).to_be_focused()
            assert "strangercanary" not in await person.page.content()

    async def test_each_sees_their_own_tenants_documents(
        self, product: House, person: Person
    ) -> None:
        await add(product, "acme", "ours.md", "# Of acme\n\nwords")
        await add(product, "globex", "theirs.md", "# Of globex\n\nwords")
        await person.signs_in(product.token("globex", "boss", Role.ADMIN))
        await expect(person.row("Of globex")).to_be_visible()
        await expect(person.page.locator("#whose")).to_have_text("globex · boss")
        await expect(person.row("Of acme")).to_have_count(0)

    async def test_a_credential_that_does_not_hold_is_asked_for_again(self, person: Person) -> None:
        await person.signs_in("garbage")
        await expect(person.page.get_by_role("alert")).to_contain_text("does not hold")
        await person.pastes("two words")
        await expect(person.page.get_by_role("alert")).to_contain_text("neither a token nor a key")

    async def test_who_pastes_a_whole_header_is_understood(
        self, product: House, person: Person
    ) -> None:
        await person.signs_in(f"  Bearer {product.token('acme', 'boss', Role.ADMIN)}\n")
        await expect(person.page.get_by_role("heading", name="Documents")).to_be_visible()

    async def test_a_reload_asks_nothing(self, admin: Person) -> None:
        await admin.page.reload()
        await expect(admin.page.get_by_role("heading", name="Nothing here yet")).to_be_visible()

    async def test_signing_out_leaves_nothing_behind(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        document = await add(product, tenant, "left.md", "# Left\n\nleftcanary")
        await admin.opens(f"/console/documents/{document}")
        await expect(admin.page.get_by_text("leftcanary")).to_be_visible()
        await admin.page.get_by_role("button", name="Sign out").click()
        await expect(admin.page.get_by_label("Token or API key")).to_be_visible()
        stored = "JSON.stringify([sessionStorage, localStorage, document.cookie])"
        assert await admin.page.evaluate(stored) == '[{},{},""]'
        await admin.page.go_back()
        await expect(admin.page.get_by_label("Token or API key")).to_be_visible()
        assert "leftcanary" not in await admin.page.content()

    async def test_a_credential_that_ends_is_asked_for_and_one_goes_on_there(
        self, product: House, tenant: str, person: Person
    ) -> None:
        await add(product, tenant, "here.md", "# Here\n\nherecanary")
        async with product.client(tenant, "boss", Role.ADMIN) as boss:
            body = {"subject": "robot", "role": "admin"}
            key = (await boss.post("/v1/keys", json=body)).json()
            await person.signs_in(key["key"], "/console/search#herecanary")
            await expect(person.page.get_by_role("link", name="Here")).to_be_visible()
            await boss.delete(f"/v1/keys/{key['key_id']}")
            await ended(boss, key["key"])
        await expect(person.page.get_by_role("link", name="Here")).to_be_visible()
        await person.searches("herecanary again")
        await expect(person.page.get_by_role("alert")).to_contain_text("no longer holds")
        assert await person.page.locator("#page").inner_html() == ""
        await person.pastes(product.token(tenant, "boss", Role.ADMIN))
        await expect(person.page.locator(".meta")).to_contain_text("for “herecanary again”")

    async def test_who_signs_in_next_sees_nothing_of_who_was_there(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        await add(product, tenant, "first.md", "# Firstcanary\n\nwords")
        await admin.page.reload()
        await admin.gives(("first.md", b"# Firstcanary\n\nwords"))
        await expect(admin.given).to_contain_text("Known already as “Firstcanary”")
        await admin.row("Firstcanary").get_by_role("button", name="Delete").click()
        await expect(admin.page.get_by_role("dialog")).to_be_visible()
        await admin.page.evaluate("sessionStorage.setItem('tenantry.credential', 'ended')")
        await admin.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await admin.pastes(product.token("globex", "boss", Role.ADMIN))
        await expect(admin.page.locator("#whose")).to_have_text("globex · boss")
        await expect(admin.page.get_by_role("heading", name="Documents")).to_be_visible()
        assert "Firstcanary" not in await admin.page.content()

    async def test_a_page_from_the_browsers_memory_is_shown_to_nobody_else(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        await add(product, tenant, "old.md", "# Oldcanary\n\nwords")
        await admin.page.reload()
        await expect(admin.row("Oldcanary")).to_be_visible()
        await admin.page.evaluate("sessionStorage.clear()")
        back = "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
        await admin.page.evaluate(back)
        assert "Oldcanary" not in await admin.page.content()
        await expect(admin.page.get_by_label("Token or API key")).to_be_visible()

    async def test_who_lacks_a_scope_is_told_which(
        self, product: House, tenant: str, person: Person
    ) -> None:
        await person.signs_in(product.token(tenant, "eve", Role.VIEWER))
        await person.gives(("no.md", b"# No"))
        await expect(person.given).to_contain_text("documents:write")
        narrow = product.token(tenant, "eve", Role.ADMIN, scopes=["search"])
        await person.page.get_by_role("button", name="Sign out").click()
        await person.pastes(narrow)
        await expect(person.page.get_by_role("alert")).to_contain_text("documents:read")


class TestTextIsText:
    async def test_markup_of_a_document_is_shown_and_never_run(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        text = f"# Top\n\n## {MARKUP}\n\n`{MARKUP}`"
        document = await add(product, tenant, "x.md", text, title=MARKUP)
        [passage, *_] = await passages_of(product, tenant, document)
        await admin.opens("/console")
        await expect(admin.row(MARKUP)).to_be_visible()
        await admin.row(MARKUP).get_by_role("button", name="Delete").click()
        await expect(admin.page.get_by_role("dialog")).to_contain_text(MARKUP)
        await admin.page.get_by_role("button", name="Keep it").click()
        await self._nothing_ran(admin)
        await admin.searches(MARKUP)
        await expect(admin.page.get_by_role("link", name=MARKUP).first).to_be_visible()
        await self._nothing_ran(admin)
        await admin.opens(f"/console/documents/{document}#{passage}")
        await expect(admin.page.get_by_role("heading", name=MARKUP)).to_be_visible()
        await expect(admin.page.locator(".opened")).to_be_visible()
        await self._nothing_ran(admin)

    async def test_markup_in_the_name_of_a_refused_file_is_text(self, admin: Person) -> None:
        archive = zipped(**{f"{MARKUP}.mp4": b"no", "one.md": b"# One\n\nwords"})
        await admin.gives((f"{MARKUP}.zip", archive))
        await expect(admin.given).to_contain_text(f"{MARKUP}.mp4 refused")
        await self._nothing_ran(admin)

    async def _nothing_ran(self, person: Person) -> None:
        assert await person.page.evaluate("window.pwned") is None
        await expect(person.page.locator("main img, main script")).to_have_count(0)

    async def test_text_that_would_become_markup_is_an_error(self, person: Person) -> None:
        await person.opens("/console")
        tried = "() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } }"
        assert await person.page.evaluate(tried) == "TypeError"
        assert [each for each in person.complaints if "TrustedHTML" in each]
        person.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_every_page_whole(
    product: House, browser: Browser, tenant: str, scheme: str
) -> None:
    document = await add(product, tenant, "w.md", f"# {'W' * 150}\n\n{'w' * 600}")
    options = {"viewport": {"width": 320, "height": 640}, "color_scheme": scheme}
    async with person_at(product, browser, **options) as person:
        await person.signs_in(product.token(tenant, "boss", Role.ADMIN))
        for path in ("/console", f"/console/documents/{document}", "/console/search#w"):
            await person.opens(path)
            await expect(person.page.get_by_text("W" * 150).first).to_be_visible()
            wide = "document.documentElement.scrollWidth - window.innerWidth"
            assert await person.page.evaluate(wide) <= 0


async def test_everything_that_is_used_has_a_name(admin: Person) -> None:
    await admin.gives(("scan.pdf", BROKEN_PDF))
    await expect(admin.rows).to_contain_text("Failed")
    nameless = """[...document.querySelectorAll("input, button, a, progress")].filter((each) =>
        !(each.getAttribute("aria-label") || each.labels?.length || each.textContent.trim()))
        .map((each) => each.outerHTML)"""
    assert await admin.page.evaluate(nameless) == []
