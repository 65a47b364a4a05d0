"""Assistants over HTTP: drafts, versions, and who says what of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tenancy.ids import TenantId
from tenancy.principal import Role
from tests.http.speech import Json, admin_of, assert_problem, audit, decide, eventually
from tests.support.house import House
from tests.support.model_server import Reply

HI = {"message": "Hi"}


@pytest.fixture
async def tenant(product: House) -> TenantId:
    return await product.new_tenant(f"speaks-{uuid4().hex[:12]}", models="scripted")


@pytest.fixture
async def boss(product: House, tenant: TenantId) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client(tenant, "boss", Role.ADMIN) as client:
        yield client


@pytest.fixture
async def ann(product: House, tenant: TenantId) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client(tenant, "ann", Role.MEMBER) as client:
        yield client


async def make(boss: httpx.AsyncClient, slug: str = "helper", **content: Any) -> Json:
    response = await boss.post("/v1/assistants", json={"slug": slug, "content": content})
    assert response.status_code == 201, response.text
    made: Json = response.json()
    return made


async def publish(boss: httpx.AsyncClient, made: Json) -> Json:
    response = await boss.post(f"/v1/assistants/{made['assistant_id']}/publish")
    assert response.status_code == 200, response.text
    published: Json = response.json()
    return published


async def draft(boss: httpx.AsyncClient, made: Json, **content: Any) -> None:
    path = f"/v1/assistants/{made['assistant_id']}/draft"
    assert (await boss.put(path, json={"content": content})).status_code == 200


async def chat(client: httpx.AsyncClient, **body: Any) -> Json:
    response = await client.post("/v1/chat", json={**HI, **body})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def told(product: House) -> str:
    """What the model was told last, before the conversation."""
    text: str = product.model.chat_requests[-1]["messages"][0]["content"]
    return text


# -- versions


async def test_an_assistant_speaks_as_it_was_published_last(
    product: House, boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    made = await make(boss, name="Helper", persona="a pirate", temperature=0.5)
    assert_problem(await ann.post("/v1/chat", json={**HI, "assistant": "helper"}), 404)
    assert (await publish(boss, made))["published"] == 1
    answer = await chat(ann, assistant="helper")
    assert answer["assistant"] == {"assistant": made["assistant_id"], "version": 1}
    assert "Persona: a pirate" in told(product)
    assert product.model.chat_requests[-1]["temperature"] == 0.5
    await draft(boss, made, persona="a judge")
    await chat(ann, assistant=made["assistant_id"])
    assert "Persona: a pirate" in told(product)
    assert (await publish(boss, made))["published"] == 2
    await chat(ann, assistant="helper")
    assert "Persona: a judge" in told(product)
    assert "temperature" not in product.model.chat_requests[-1]


async def test_a_version_of_before_is_put_into_use_again(
    product: House, boss: httpx.AsyncClient
) -> None:
    made = await make(boss, persona="a pirate")
    path = f"/v1/assistants/{made['assistant_id']}"
    await publish(boss, made)
    await draft(boss, made, persona="a judge", tone="dry")
    await publish(boss, made)
    back = (await boss.post(f"{path}/rollback", json={"version": 1})).json()
    assert (back["published"], back["draft"]) == (1, {"persona": "a judge", "tone": "dry"})
    assert (await chat(boss, assistant="helper"))["assistant"]["version"] == 1
    assert "a pirate" in told(product)
    assert_problem(await boss.post(f"{path}/rollback", json={"version": 3}), 404)
    assert (await publish(boss, made))["published"] == 3
    versions = (await boss.get(f"{path}/versions", params={"limit": 2})).json()
    assert [each["version"] for each in versions["items"]] == [3, 2]
    rest = (await boss.get(f"{path}/versions", params={"before": versions["next_cursor"]})).json()
    assert [(each["version"], each["subject"]) for each in rest["items"]] == [(1, "boss")]


async def test_two_versions_are_compared_by_field(boss: httpx.AsyncClient) -> None:
    made = await make(boss, persona="a pirate", tone="dry")
    path = f"/v1/assistants/{made['assistant_id']}"
    await publish(boss, made)
    assert (await boss.patch(path, json={"content": {"tone": None, "length": "short"}})).is_success
    assert (await boss.get(path)).json()["draft"] == {"persona": "a pirate", "length": "short"}
    expected = [
        {"field": "length", "from": None, "to": "short"},
        {"field": "tone", "from": "dry", "to": None},
    ]
    assert (await boss.get(f"{path}/diff", params={"from": 1})).json()["items"] == expected
    await publish(boss, made)
    params = {"from": 1, "to": 2}
    assert (await boss.get(f"{path}/diff", params=params)).json()["items"] == expected


async def test_a_draft_is_tried_by_admins_alone(
    product: House, boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    await make(boss, persona="a pirate")
    path = "/v1/assistants/{}/effective"
    assert_problem(await boss.get(path.format("helper")), 404)
    assert_problem(await boss.get(path.format("default@draft")), 404)
    shown = (await boss.get(path.format("helper@draft"))).json()["items"]
    assert {"field": "persona", "value": "a pirate", "source": "assistant"} in shown
    answer = await chat(boss, assistant="helper@draft")
    assert answer["assistant"]["version"] is None
    assert "a pirate" in told(product)
    hidden = await ann.post("/v1/chat", json={**HI, "assistant": "helper@draft"})
    missing = await ann.post("/v1/chat", json={**HI, "assistant": "nobody"})
    assert hidden.status_code == missing.status_code == 404
    assert hidden.content == missing.content


async def test_which_version_spoke_is_in_the_audit(
    product: House, tenant: TenantId, boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    made = await make(boss, persona="a pirate")
    await publish(boss, made)
    answer = await chat(ann, assistant="helper")
    events = await audit(product, tenant)
    used = [each for each in events if each["action"] == "assistant.use"]
    assert [(each["resource"], each["attributes"], each["run_id"]) for each in used] == [
        (made["assistant_id"], {"version": 1}, answer["run_id"])
    ]
    assert {"assistant.create", "assistant.publish"} <= {each["action"] for each in events}


async def test_a_thread_goes_on_without_the_assistant_that_was_deleted(
    product: House, boss: httpx.AsyncClient
) -> None:
    made = await make(boss, persona="a pirate")
    await publish(boss, made)
    thread = (await chat(boss, assistant="helper"))["thread_id"]
    path = f"/v1/assistants/{made['assistant_id']}"
    assert (await boss.delete(path)).status_code == 204
    assert_problem(await boss.get(path), 404)
    gone = {**HI, "thread_id": thread, "assistant": "helper"}
    assert_problem(await boss.post("/v1/chat", json=gone), 404)
    await chat(boss, thread_id=thread)
    assert "a pirate" not in told(product)


async def test_an_assistant_uses_the_tools_it_names_alone(
    product: House, boss: httpx.AsyncClient
) -> None:
    await chat(boss)
    names = {each["function"]["name"] for each in product.model.chat_requests[-1]["tools"]}
    assert len(names) > 1
    kept = sorted(names)[0]
    await make(boss, tools=[kept])
    await make(boss, "idle", tools=[], search={"limit": 0})
    await chat(boss, assistant="helper@draft")
    shown = product.model.chat_requests[-1]["tools"]
    assert [each["function"]["name"] for each in shown] == [kept]
    await chat(boss, assistant="idle@draft")
    assert "tools" not in product.model.chat_requests[-1]


@pytest.mark.parametrize(
    ("slug", "content", "field"),
    [
        ("default", {}, "slug"),
        ("Upper", {}, "slug"),
        ("x@draft", {}, "slug"),
        ("ok", {"persona": 1}, "persona"),
        ("ok", {"name": ["x"]}, "name"),
        ("ok", {"policies": ["x"]}, "policies"),
        ("ok", {"model": "not-of-the-plan"}, "model"),
        ("ok", {"tools": ["rm"]}, "tools"),
        ("ok", {"unheard": 1}, "unheard"),
    ],
)
async def test_what_no_assistant_can_be_is_refused_by_name(
    boss: httpx.AsyncClient, slug: str, content: Json, field: str
) -> None:
    response = await boss.post("/v1/assistants", json={"slug": slug, "content": content})
    assert_problem(response, 422)
    assert response.json()["errors"][0]["field"] == field


async def test_two_assistants_of_one_tenant_have_two_slugs(
    product: House, boss: httpx.AsyncClient
) -> None:
    await make(boss)
    again = await boss.post("/v1/assistants", json={"slug": "helper"})
    assert_problem(again, 409)
    other = await product.new_tenant(f"speaks-{uuid4().hex[:12]}")
    async with product.client(other, "boss", Role.ADMIN) as rival:
        await make(rival)


async def test_who_chats_sees_what_is_published_and_no_draft(
    boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    made = await make(boss, name="Helper", persona="a pirate")
    assert "helper" not in (await ann.get("/v1/assistants")).text
    await publish(boss, made)
    await draft(boss, made, name="Secret plan")
    seen = (await ann.get("/v1/assistants")).json()["items"]
    assert [(each["slug"], each["name"]) for each in seen if not each["universal"]] == [
        ("helper", "Helper")
    ]
    assert "Secret plan" not in str(seen)
    assert "pirate" not in str(seen)


# -- what is said where


async def test_what_the_nearest_says_holds(
    product: House, boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    says = {
        "tone": "formal",
        "language": "German",
        "policies": ["No advice."],
    }
    assert (await boss.put("/v1/profile", json={"says": says})).json() == {"says": says}
    await make(boss, tone="warm", persona="a pirate")
    wishes = {"language": "French", "instructions": "Call me Ann."}
    assert (await ann.put("/v1/preferences", json={"says": wishes})).json() == {"says": wishes}
    assert (await ann.get("/v1/preferences")).json() == {"says": wishes}
    assert (await boss.get("/v1/preferences")).json() == {"says": {}}
    await publish(boss, (await boss.get("/v1/assistants")).json()["items"][0])

    async def acts() -> bool:
        return (await boss.get("/v1/profile")).json() == {"says": says}

    await eventually(acts)
    context = {"length": "short", "page": "/billing", "locale": "fr-CH"}
    await chat(ann, assistant="helper", context=context)
    prompt = told(product)
    assert prompt.splitlines()[1].startswith("tenant_id: speaks-")
    for line in ("Persona: a pirate", "Tone: warm", "Answer in this language: French"):
        assert line in prompt
    assert "Length of answers: short" in prompt
    assert "<policy>No advice.</policy>" in prompt
    assert "<user_wishes>Call me Ann.</user_wishes>" in prompt
    assert '<request_context page="/billing" locale="fr-CH"></request_context>' in prompt
    await chat(boss)
    assert "French" not in told(product)

    path = "/v1/assistants/helper/effective"
    items = (await boss.get(path, params={"user": "ann"})).json()["items"]
    assert {each["field"]: (each["value"], each["source"]) for each in items} == {
        "persona": ("a pirate", "assistant"),
        "tone": ("warm", "assistant"),
        "language": ("French", "user"),
        "instructions": ("Call me Ann.", "user"),
        "policies": (["No advice."], "tenant"),
        "model": (product.services.models.default, "platform"),
        "search": ({"limit": 5}, "platform"),
    }


@pytest.mark.parametrize(
    ("path", "says", "field"),
    [
        ("/v1/preferences", {"persona": "root"}, "persona"),
        ("/v1/preferences", {"policies": []}, "policies"),
        ("/v1/preferences", {"model": "dear"}, "model"),
        ("/v1/profile", {"page": "/"}, "page"),
        ("/v1/profile", {"tools": []}, "tools"),
        ("/v1/profile", {"glossary": {"a": 1}}, "glossary"),
    ],
)
async def test_nobody_says_what_another_has_to_say(
    boss: httpx.AsyncClient, path: str, says: Json, field: str
) -> None:
    response = await boss.put(path, json={"says": says})
    assert_problem(response, 422)
    assert response.json()["errors"][0]["field"] == field


async def test_a_context_is_bounded_and_typed(ann: httpx.AsyncClient) -> None:
    for context in ({"tenant_id": "globex"}, {"page": 1}, {"page": "x" * 513}, {"length": "x"}):
        assert_problem(await ann.post("/v1/chat", json={**HI, "context": context}), 422)


async def test_a_run_says_which_version_spoke(
    boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    made = await make(boss, persona="a pirate")
    await publish(boss, made)
    said = await chat(ann, assistant="helper")
    run = (await ann.get(f"/v1/runs/{said['run_id']}")).json()
    assert run["assistant"] == said["assistant"]
    plain = await chat(ann, thread_id=said["thread_id"])
    assert "assistant" not in (await ann.get(f"/v1/runs/{plain['run_id']}")).json()
    exported = (await ann.get(f"/v1/threads/{said['thread_id']}/export")).json()
    assert [each.get("assistant") for each in exported["runs"]] == [said["assistant"], None]


async def test_an_answered_interrupt_goes_on_with_the_assistant_that_asked(
    product: House, tenant: TenantId, boss: httpx.AsyncClient, ann: httpx.AsyncClient
) -> None:
    async with admin_of(product) as admin:
        admin.configure_tool(tenant, "current_time", {"require_approval": "true"})
    made = await make(boss, persona="a pirate", tools=["current_time"])
    await publish(boss, made)
    for name, version in ((f"{made['assistant_id']}", 1), ("helper@draft", None)):
        product.model.script(Reply.tool_call("current_time", {"timezone": "UTC"}))
        said = await chat(boss, assistant=name)
        assert "interrupt" in said
        resumed = (await decide(boss, said["thread_id"], {"type": "approve"})).json()
        assert resumed["assistant"] == {"assistant": made["assistant_id"], "version": version}
        assert "a pirate" in told(product)
    product.model.script(Reply.tool_call("current_time", {"timezone": "UTC"}))
    said = await chat(ann, assistant="helper")
    await boss.delete(f"/v1/assistants/{made['assistant_id']}")
    resumed = (await decide(ann, said["thread_id"], {"type": "approve"})).json()
    assert "assistant" not in resumed
    assert "a pirate" not in told(product)


async def test_a_tool_that_the_assistant_does_not_use_is_not_run_for_it(
    product: House, boss: httpx.AsyncClient
) -> None:
    await make(boss, tools=[])
    product.model.script(Reply.tool_call("current_time", {"timezone": "UTC"}))
    said = await chat(boss, assistant="helper@draft")
    assert said["answer"]
    results = [m["content"] for m in product.model.chat_requests[-1]["messages"]][-1]
    assert "UTC" not in results


# -- what every tenant sees


@pytest.fixture
async def operator(product: House) -> AsyncIterator[httpx.AsyncClient]:
    async with product.client("platform", "olga", Role.OPERATOR) as client:
        yield client


async def test_a_universal_assistant_is_every_tenants_until_they_make_their_own(
    product: House, operator: httpx.AsyncClient, boss: httpx.AsyncClient
) -> None:
    slug = f"u-{uuid4().hex[:8]}"
    path = f"/v1/universal/assistants/{slug}"
    for version, persona in ((1, "a clerk"), (2, "a judge")):
        put = await operator.put(path, json={"content": {"name": "All", "persona": persona}})
        assert put.json()["version"] == version

    async def is_seen() -> bool:
        seen = (await boss.get("/v1/assistants")).json()["items"]
        return {"slug": slug, "published": 2, "name": "All", "universal": True}.items() <= {
            key: value for each in seen if each["slug"] == slug for key, value in each.items()
        }.items()

    await eventually(is_seen)
    said = await chat(boss, assistant=slug)
    assert said["assistant"] == {"assistant": slug, "version": 2}
    assert "Persona: a judge" in told(product)
    run = (await boss.get(f"/v1/runs/{said['run_id']}")).json()
    assert run["assistant"] == said["assistant"]
    assert_problem(await boss.post("/v1/chat", json={**HI, "assistant": f"{slug}@draft"}), 404)
    await publish(boss, await make(boss, slug, persona="our own"))
    await chat(boss, assistant=slug)
    assert "Persona: our own" in told(product)
    assert (await operator.delete(path)).status_code == 204
    assert_problem(await operator.delete(path), 404)
    listed = (await operator.get("/v1/universal/assistants")).json()["items"]
    assert slug not in [each["slug"] for each in listed]


async def test_the_deployment_says_what_holds_where_nobody_else_does(
    product: House, tenant: TenantId, operator: httpx.AsyncClient, boss: httpx.AsyncClient
) -> None:
    plan = (await operator.get(f"/v1/tenants/{tenant}")).json()["plan"]
    said = {"tone": "calm", "policies": ["Stay lawful."], "length": "long"}
    of_all = await operator.put("/v1/universal/profiles", json={"says": said})
    assert of_all.json() == {"plan": None, "says": said}
    of_plan = {"plan": plan, "says": {"length": "short"}}
    assert (await operator.put("/v1/universal/profiles", json=of_plan)).json() == of_plan
    try:
        assert {"plan": None, "says": said} in (
            await operator.get("/v1/universal/profiles")
        ).json()["items"]
        await boss.put("/v1/profile", json={"says": {"policies": ["No advice."], "tone": "warm"}})
        path = "/v1/assistants/default/effective"

        async def holds() -> bool:
            items = (await boss.get(path)).json()["items"]
            found = [(each["field"], each["value"], each["source"]) for each in items]
            return {each[0]: each for each in found if each[0] in {"tone", "length"}} == {
                "tone": ("tone", "warm", "tenant"),
                "length": ("length", "short", "plan"),
            } and [each for each in found if each[0] == "policies"] == [
                ("policies", ["Stay lawful."], "platform"),
                ("policies", ["No advice."], "tenant"),
            ]

        await eventually(holds)
        await chat(boss)
        for line in ("Tone: warm", "Length of answers: short", "Stay lawful.", "No advice."):
            assert line in told(product)
    finally:
        for body in ({"says": {}}, {"plan": plan, "says": {}}):
            assert (await operator.put("/v1/universal/profiles", json=body)).is_success


async def test_what_no_deployment_can_say_is_refused_by_name(operator: httpx.AsyncClient) -> None:
    profiles, assistants = "/v1/universal/profiles", "/v1/universal/assistants"
    nobodys = {"plan": "of-nobody", "says": {}}
    assert_problem(await operator.put(profiles, json=nobodys), 404)
    assert_problem(await operator.put(profiles, json={"says": {"page": "/"}}), 422, "page")
    assert_problem(await operator.put(f"{assistants}/default", json={"content": {}}), 422, "slug")
    wrong = {"content": {"policies": ["x"]}}
    assert_problem(await operator.put(f"{assistants}/ok", json=wrong), 422, "policies")


async def test_two_who_change_a_draft_at_once_take_nothing_from_each_other(
    boss: httpx.AsyncClient,
) -> None:
    path = f"/v1/assistants/{(await make(boss))['assistant_id']}"
    parts = {"persona": "a pirate", "tone": "dry", "language": "French", "length": "short"}
    changes = [boss.patch(path, json={"content": {name: parts[name]}}) for name in parts]
    assert all(each.is_success for each in await asyncio.gather(*changes))
    assert (await boss.get(path)).json()["draft"] == parts
