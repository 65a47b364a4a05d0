"""What a person does with documents in the console: give, follow, delete, find and read them."""

from uuid import uuid4

from playwright.async_api import expect

from tenancy.ids import PlanId, TenantId
from tenancy.principal import Role
from tests.http.speech import admin_of, eventually
from tests.support.browser import BROKEN_PDF, Person, needs_chromium
from tests.support.documents import add, passages_of, zipped
from tests.support.house import House
from tests.support.model_server import Reply

pytestmark = needs_chromium


class TestGiving:
    async def test_an_empty_tenant_says_what_to_do_first(self, admin: Person) -> None:
        await expect(admin.page.get_by_role("heading", name="Nothing here yet")).to_be_visible()

    async def test_several_files_are_taken_and_found_ready(self, admin: Person) -> None:
        await admin.gives(("one.md", b"# One\n\nfirst"), ("two.md", b"# Two\n\nsecond"))
        for title in ("One", "Two"):
            await expect(admin.row(title)).to_contain_text("Ready")
            await expect(admin.row(title)).to_contain_text("1 passage")
        await expect(admin.page.get_by_role("heading", name="Nothing here yet")).to_have_count(0)
        await admin.gives(("again.md", b"# One\n\nfirst"))
        await expect(admin.given.last).to_contain_text("Known already as “One”")
        await expect(admin.rows).to_have_count(2)

    async def test_files_may_be_dropped(self, admin: Person) -> None:
        await admin.drops("dropped.md", "'# Dropped\\n\\nwords'")
        await expect(admin.row("Dropped")).to_contain_text("Ready")

    async def test_an_archive_tells_of_each_file(self, admin: Person) -> None:
        files = {"a/one.md": b"# One", "clip.mp4": b"no words"}
        await admin.gives(("manuals.zip", zipped(**files)))
        await expect(admin.given).to_contain_text("1 file taken, 1 refused.")
        await expect(admin.given).to_contain_text("clip.mp4 refused: Files ending in .mp4")
        await expect(admin.given).to_contain_text("a/one.md taken")
        await expect(admin.row("One")).to_contain_text("Ready")

    async def test_a_file_that_is_too_large_is_told_before_it_is_sent(self, admin: Person) -> None:
        await admin.drops("big.txt", "new Uint8Array(25 * 1024 * 1024 + 1)")
        await expect(admin.given).to_contain_text("at most 25 MiB")

    async def test_an_address_that_is_not_public_is_refused_with_the_reason(
        self, admin: Person
    ) -> None:
        await admin.page.get_by_label("Fetch a public page").fill("http://127.0.0.1/x")
        await admin.page.get_by_role("button", name="Fetch").click()
        await expect(admin.given).to_contain_text("public host")
        await expect(admin.given.get_by_role("button")).to_have_count(0)

    async def test_what_could_not_be_sent_is_kept_and_sent_again(self, admin: Person) -> None:
        await admin.page.context.set_offline(True)
        await admin.gives(("kept.md", b"# Kept\n\nwords"))
        await expect(admin.given).to_contain_text("could not be reached")
        await admin.page.context.set_offline(False)
        await admin.page.get_by_role("button", name="Send kept.md again").click()
        await expect(admin.row("Kept")).to_contain_text("Ready")

    async def test_who_signs_in_again_sends_what_was_not_sent_when_they_say_so(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        key = "sessionStorage.setItem('tenantry.credential', 'ended')"
        await admin.page.evaluate(key)
        await admin.gives(("mine.md", b"# Mine\n\nwords"))
        await admin.pastes(product.token(tenant, "boss", Role.ADMIN))
        await expect(admin.given).to_contain_text("Not sent")
        await expect(admin.rows).to_have_count(0)
        await admin.page.get_by_role("button", name="Send mine.md again").click()
        await expect(admin.row("Mine")).to_contain_text("Ready")

    async def test_nobody_else_who_signs_in_sees_or_sends_what_was_not_sent(
        self, product: House, admin: Person
    ) -> None:
        await admin.page.evaluate("sessionStorage.setItem('tenantry.credential', 'ended')")
        await admin.gives(("minecanary.md", b"# Mine\n\nwords"))
        await admin.pastes(product.token("globex", "boss", Role.ADMIN))
        await expect(admin.page.get_by_role("heading", name="Documents")).to_be_visible()
        assert "minecanary" not in await admin.page.content()


class TestTheList:
    async def test_a_document_under_way_shows_how_far_it_is(self, admin: Person) -> None:
        admin.house.model.script_embeddings(Reply(delay_seconds=4))
        await admin.gives(("slow.md", b"# Slow\n\nwords"))
        await expect(admin.rows).to_contain_text("Indexing")
        bar = admin.page.get_by_role("progressbar", name="Progress of")
        await expect(bar).to_have_attribute("max", "1")
        await expect(admin.row("Slow")).to_contain_text("Ready")
        await expect(bar).to_have_count(0)
        await expect(admin.page.get_by_role("status")).to_have_text("Slow is ready: 1 passage.")

    async def test_a_failure_says_why_and_can_be_tried_again(self, admin: Person) -> None:
        await admin.gives(("scan.pdf", BROKEN_PDF))
        row = admin.row("scan.pdf")
        await expect(row).to_contain_text("Failed")
        reason = "The file is a PDF that is broken or too complex to read."
        await expect(row.locator(".error")).to_have_text(reason)
        async with admin.page.expect_response("**/retry") as retried:
            await row.get_by_role("button", name="Read scan.pdf again").click()
        assert (await retried.value).status == 202
        await expect(row.locator(".error")).to_have_text(reason)

    async def test_deleting_asks_first(self, product: House, tenant: str, admin: Person) -> None:
        await add(product, tenant, "go.md", "# Goer\n\nwords")
        await add(product, tenant, "stay.md", "# Stayer\n\nwords")
        await admin.page.reload()
        delete = admin.row("Goer").get_by_role("button", name="Delete Goer")
        await delete.focus()
        await admin.page.keyboard.press("Enter")
        await expect(admin.page.get_by_role("button", name="Keep it")).to_be_focused()
        await admin.page.keyboard.press("Escape")
        await expect(delete).to_be_focused()
        await admin.page.keyboard.press("Enter")
        await admin.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(admin.row("Goer")).to_have_count(0)
        await expect(admin.row("Stayer").get_by_role("link")).to_be_focused()

    async def test_earlier_documents_are_a_press_away(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        for n in range(53):
            await add(product, tenant, f"{n}.md", f"# Number {n}")
        await admin.page.reload()
        await expect(admin.rows).to_have_count(50)
        await admin.page.get_by_role("button", name="Show earlier ones").click()
        await expect(admin.rows).to_have_count(53)
        await expect(admin.rows.nth(50).get_by_role("link")).to_be_focused()

    async def test_a_network_that_comes_back_is_noticed(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        await add(product, tenant, "steady.md", "# Steady\n\nwords")
        await admin.page.reload()
        await expect(admin.row("Steady")).to_be_visible()
        await admin.page.context.set_offline(True)
        await admin.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(admin.page.get_by_role("alert")).to_contain_text("What is shown may be old")
        await expect(admin.row("Steady")).to_be_visible()
        await admin.page.context.set_offline(False)
        await expect(admin.page.get_by_role("alert")).to_have_count(0)


class TestACitation:
    async def test_opens_at_the_passage_however_far_down_it_is(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        text = "\n\n".join(f"## Part {n}\n\n{f'word{n} ' * 120}" for n in range(230))
        document = await add(product, tenant, "long.md", f"# Long\n\n{text}")
        wanted = (await passages_of(product, tenant, document))[-3]
        await admin.opens(f"/console/documents/{document}#{wanted}")
        opened = admin.page.locator(".opened")
        await expect(opened).to_have_id(wanted)
        await expect(opened).to_be_focused()
        await expect(opened).to_be_in_viewport()
        await expect(opened).to_contain_text("Long › Part")
        await admin.page.get_by_role("link", name="Skip to the content").press("Enter")
        await expect(opened).to_have_id(wanted)
        await admin.page.get_by_role("button", name="Show what is before").click()
        await expect(opened).to_have_id(wanted)

    async def test_of_the_api_opens_in_the_console(
        self, product: House, tenant: str, person: Person
    ) -> None:
        text = "\n\n".join(f"## Part {n}\n\n{f'word{n} ' * 120}" for n in range(9))
        document = await add(product, tenant, "cited.md", text)
        wanted = (await passages_of(product, tenant, document))[7]
        token = product.token(tenant, "boss", Role.ADMIN)
        await person.signs_in(token, f"/v1/documents/{document}#{wanted}")
        await expect(person.page.locator(".opened")).to_have_id(wanted)
        assert person.page.url == f"{product.url}/console/documents/{document}#{wanted}"

    async def test_is_reached_from_what_a_search_finds_and_says_why(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        await add(product, tenant, "zebra.md", "# Zebras\n\nA zebra has stripes.")
        await admin.searches("zebra stripes")
        await expect(admin.page.locator(".hits > li")).to_have_count(1)
        await admin.page.locator(".why summary").click()
        why = admin.page.get_by_role("row", name="By words")
        await expect(why).to_contain_text("place 1")
        await admin.page.get_by_role("link", name="Zebras").click()
        await expect(admin.page.locator(".opened")).to_contain_text("A zebra has stripes.")
        await admin.page.go_back()
        box = admin.page.get_by_label("Search in all documents")
        await expect(box).to_have_value("zebra stripes")

    async def test_of_what_was_read_anew_opens_the_document(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        document = await add(product, tenant, "new.md", "# New\n\nwords")
        await admin.opens(f"/console/documents/{document}#{uuid4()}")
        alert = admin.page.get_by_role("alert")
        await expect(alert).to_contain_text("not in the document any more")
        await expect(admin.page.get_by_label("Passage 1", exact=True)).to_be_visible()

    async def test_of_another_tenants_document_opens_nothing(
        self, product: House, admin: Person
    ) -> None:
        document = await add(product, "acme", "rival.md", f"# Rival {uuid4()}\n\nrivalcanary")
        shown = []
        for asked in (document, str(uuid4())):
            await admin.opens(f"/console/documents/{asked}")
            heading = admin.page.get_by_role("heading")
            await expect(heading).to_have_text("There is no such document")
            shown.append(await admin.page.locator("main").inner_text())
        assert shown[0] == shown[1]

    async def test_of_a_shared_corpus_opens_there(
        self, product: House, tenant: str, admin: Person
    ) -> None:
        corpus = TenantId(f"law-{uuid4().hex[:8]}")
        async with admin_of(product) as control:
            control.create_corpus(corpus, "Labour law", PlanId("pro"))
        await add(product, corpus, "law.md", "# Parental leave\n\nFourteen weeks of quokka leave.")
        async with product.client(tenant, "boss", Role.ADMIN) as boss:
            await boss.put(f"/v1/corpora/{corpus}/subscription")

            async def acts() -> bool:
                answer = await boss.post("/v1/search", json={"query": "quokka leave"})
                return bool(answer.json()["items"])

            await eventually(acts)
        await admin.searches("quokka leave")
        await expect(admin.page.locator(".hits .place")).to_contain_text(f"corpus {corpus}")
        await admin.page.get_by_role("link", name="Parental leave").click()
        await expect(admin.page.locator(".opened")).to_contain_text("Fourteen weeks")
