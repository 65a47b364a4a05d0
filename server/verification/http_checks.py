"""What the HTTP interface shows: every route, every id in it, and both tenants at once."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import orjson
from langchain_core.utils.function_calling import convert_to_openai_tool

from server.verification.doors import DOORS, Door
from server.verification.model import CALL
from server.verification.rivals import Masked, Rival
from server.verification.unread import plant_unread
from server.verification.world import World, shared_id

ROUNDS = 6
APPROVE = {"decisions": [{"type": "approve"}]}
BOTH_KNOW = "what both know"
IDS = ("document_id", "thread_id", "run_id", "key_id", "assistant_id", "memory_id")
SLUG = "verify"  # of an assistant that each of both has
IN_PATH = re.compile(r"\{(\w+)\}")


async def plant(here: World) -> int:
    """Both tenants have the same things, each with words of its own in every place for words."""
    thread = shared_id()
    for rival in here.rivals:
        await _plant(here, rival, thread)
    return sum(len(rival.places) for rival in here.rivals)


async def _plant(here: World, rival: Rival, thread: str) -> None:
    made = {"title": rival.canary("title"), "thread_id": thread}
    await _worked(here, rival, "POST", "/v1/threads", json=made)
    said = {"message": f"{BOTH_KNOW}: {rival.canary('message')}", "thread_id": thread}
    again = {"Idempotency-Key": f"{thread}-once"}
    await _worked(here, rival, "POST", "/v1/chat", json=said, headers=again)
    upload = (f"{rival.canary('file name')}.md", f"{BOTH_KNOW} {rival.canary('document')}".encode())
    document = await _worked(here, rival, "POST", "/v1/documents", files=upload)
    fresh = {"message": f"{BOTH_KNOW}: {rival.canary('another message')}"}
    run = await _worked(here, rival, "POST", "/v1/chat", json=fresh)
    key = await _worked(here, rival, "POST", "/v1/keys", json={"subject": rival.canary("key")})
    said = {"text": f"{BOTH_KNOW}: {rival.canary('planted memory')}", "of": "tenant"}
    memory = await _worked(here, rival, "POST", "/v1/memories", json=said)
    subject = shared_id()  # no canary: the other one says it too, of a user of its own
    narrowed = {"limits": {"user_tokens_per_day": 9}}
    await _worked(here, rival, "PUT", f"/v1/limits/users/{subject}", json=narrowed)
    assistant_id = await _plant_assistant(here, rival)
    await plant_unread(here, rival)
    rival.ids.update(
        subject=subject,
        shared_thread_id=thread,
        document_id=document["document_id"],
        thread_id=run["thread_id"],
        run_id=run["run_id"],
        key_id=key["key_id"],
        assistant_id=assistant_id,
        slug=SLUG,
        corpus_id=rival.tenant_id,
        memory_id=memory["memory_id"],
    )


async def _plant_assistant(here: World, rival: Rival) -> str:
    """An assistant of a name that both have, in use, and a user with wishes."""
    content = {
        "name": rival.canary("assistant"),
        "persona": rival.canary("persona of an assistant"),
        "instructions": rival.canary("instructions of an assistant"),
    }
    wishes = {"says": {"instructions": rival.canary("wish")}}
    new = {"slug": SLUG, "content": content}
    made = await _worked(here, rival, "POST", "/v1/assistants", json=new)
    path = f"/v1/assistants/{made['assistant_id']}"
    await _worked(here, rival, "POST", f"{path}/publish")
    await _worked(here, rival, "PUT", "/v1/preferences", json=wishes)
    said = {"message": f"{BOTH_KNOW}: {rival.canary('said to an assistant')}", "assistant": SLUG}
    await _worked(here, rival, "POST", "/v1/chat", json=said)
    return str(made["assistant_id"])


async def _worked(here: World, rival: Rival, method: str, path: str, **request: Any) -> Any:
    answer = await here.ask(rival, method, path, **request)
    if answer.status >= 400:
        what = f"a tenant's own request was answered {answer.status}"
        here.observer.found(f"{method} {path}", what)
        return dict.fromkeys(IDS, shared_id())
    return orjson.loads(answer.body)


def operations(here: World) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every operation that the OpenAPI document describes."""
    for path, methods in here.app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


async def check_doors(here: World) -> int:
    """Each route is known here, asks for a credential, and shows a tenant its own things."""
    probes = 0
    for name, operation in operations(here):
        door = DOORS.get(name)
        if door is None:
            here.observer.found(name, "there is no probe for this route")
            continue
        unprobed = ids_of(name, operation, here.app.openapi()) - {*_named(name, door)}
        if unprobed:
            here.observer.found(name, f"no probe names {', '.join(sorted(unprobed))}")
        probes += await _check_own(here, name, door)
    return probes


async def _check_own(here: World, name: str, door: Door) -> int:
    one, _ = here.rivals
    method, _, path = name.partition(" ")
    stranger = {"Authorization": "Bearer nobody"}
    refused = await here.ask(one, method, path.format(**one.ids), headers=stranger)
    if refused.status != 401:
        here.observer.found(name, f"a stranger was answered {refused.status}")
    if door.ends:
        return 1
    for rival in here.rivals:
        answer = await _knock(here, rival, name, door, {} if door.makes else rival.ids)
        if not _expected(door, answer.status):
            here.observer.found(name, f"a tenant's own request was answered {answer.status}")
    return 1 + len(here.rivals)


def _expected(door: Door, status: int) -> bool:
    shut = 403 if door.operators else door.refused
    return status < 400 if shut is None else status == shut


def ids_of(name: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    """The id-typed fields of an operation: in its path, and in the body it takes."""
    found = set(IN_PATH.findall(name))
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found |= _ids_in(content.get("schema", {}), document)
    return found


def _ids_in(schema: Mapping[str, Any], document: Mapping[str, Any]) -> set[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = {name for name in schema.get("properties", {}) if name.endswith("_id")}
    for each in schema.get("anyOf", []):
        found |= _ids_in(each, document)
    return found - {"token_id"}  # of somebody else's making: no id of ours


def _named(name: str, door: Door) -> tuple[str, ...]:
    return (*IN_PATH.findall(name), *door.ids)


async def check_ids(here: World) -> int:
    """A neighbour's thing is answered like a thing that never was, byte for byte."""
    probes = 0
    known = [(name, DOORS[name]) for name, _ in operations(here) if name in DOORS]
    # what makes a thing of the neighbour's id comes last: the id is one's own afterwards
    for name, door in sorted(known, key=lambda each: each[1].makes):
        if not _named(name, door):
            continue
        for rival in here.rivals:
            await _compare(here, rival, name, door)
            probes += 2
    for rival in here.rivals:
        await _still_there(here, rival)
    return probes


async def _compare(here: World, rival: Rival, name: str, door: Door) -> None:
    other, never = here.observer.other(rival).ids, _never(door, name)
    asked = {each: other[each] for each in never}
    foreign = _without(await _knock(here, rival, name, door, asked), asked)
    missing = _without(await _knock(here, rival, name, door, never), never)
    if foreign.plain != missing.plain:
        here.observer.found(name, f"{_difference(foreign, missing)} tells a neighbour's thing")
    elif foreign.status < 400 and not door.makes:
        here.observer.found(name, "a neighbour's thing was found")


def _never(door: Door, name: str) -> dict[str, str]:
    """Ids of things that never were."""
    made = {each: str(uuid4()) for each in _named(name, door)}
    return {k: f"verify-{v}" if k == "tenant_id" else v for k, v in made.items()}


def _without(answer: Masked, asked: Mapping[str, str]) -> Masked:
    """The answer, where it repeats what was asked for, without that."""
    body = answer.body
    for named in asked.values():
        body = body.replace(named.encode(), b"asked")
    return Masked(answer.status, answer.headers, body)


def _difference(one: Masked, two: Masked) -> str:
    if one.status != two.status:
        return f"the status {one.status} instead of {two.status}"
    return "the body" if one.plain[2] != two.plain[2] else "the headers"


async def _still_there(here: World, rival: Rival) -> None:
    for path in ("/v1/threads/{thread_id}", "/v1/documents/{document_id}", "/v1/runs/{run_id}"):
        answer = await here.ask(rival, "GET", path.format(**rival.ids))
        if answer.status != 200:
            here.observer.found(path, "a neighbour's request took a tenant's own thing away")


async def _knock(
    here: World, rival: Rival, name: str, door: Door, named: Mapping[str, str]
) -> Masked:
    method, _, path = name.partition(" ")
    filled = path.format(**{**rival.ids, **named}) if "{" in path else path
    return await here.ask(rival, method, filled, **door.request(rival, named))


async def check_traffic(here: World) -> int:
    """Both at once: chats, streams, uploads, searches, deletions, lists, and refused requests."""
    each = [_turns(here, rival, number) for number in range(ROUNDS) for rival in here.rivals]
    return sum(await asyncio.gather(*each))


async def _turns(here: World, rival: Rival, number: int) -> int:
    message = {"message": f"{BOTH_KNOW}, {rival.canary(f'message {number}')}"}
    streamed = {**message, "stream": True}
    upload = (f"{rival.canary(f'file {number}')}.txt", f"{BOTH_KNOW} {number} {uuid4()}".encode())
    other = here.observer.other(rival).ids
    await asyncio.gather(
        here.ask(rival, "POST", "/v1/chat", json=message),
        here.ask(rival, "POST", "/v1/chat", json=streamed),
        here.ask(rival, "POST", "/v1/chat", json={**streamed, "thread_id": other["thread_id"]}),
        here.ask(rival, "POST", "/v1/chat", json={"message": message, "thread_id": number}),
        here.ask(rival, "POST", "/v1/search", json={"query": BOTH_KNOW, "limit": 50}),
        here.ask(rival, "GET", "/v1/memories", params={"query": BOTH_KNOW}),
        here.ask(rival, "GET", "/v1/threads", params={"limit": 200}),
        here.ask(rival, "GET", "/v1/audit", params={"limit": 200}),
        here.ask(rival, "GET", f"/v1/documents/{other['document_id']}"),
        here.ask(rival, "GET", "/v1/usage"),
        here.ask(rival, "GET", f"/v1/threads/{rival.ids['shared_thread_id']}"),
        _come_and_go(here, rival, upload),
    )
    return 13


async def _come_and_go(here: World, rival: Rival, upload: tuple[str, bytes]) -> None:
    document = await _worked(here, rival, "POST", "/v1/documents", files=upload)
    await here.ask(rival, "DELETE", f"/v1/documents/{document['document_id']}")


async def check_repeats(here: World) -> int:
    """The idempotency key of one is no key of the other."""
    key, said = {"Idempotency-Key": shared_id()}, {"message": BOTH_KNOW}
    one, two = [
        orjson.loads((await here.ask(rival, "POST", "/v1/chat", json=said, headers=key)).body)
        for rival in here.rivals
    ]
    if not {"run_id"} <= one.keys() & two.keys() or one["run_id"] == two["run_id"]:
        here.observer.found("POST /v1/chat", "an idempotency key is shared between tenants")
    return 2


async def check_tools(here: World) -> int:
    """Every tool is called by both at once; it has its own tenant's settings and answers."""
    specs = list(here.services.catalogue.specs())
    for problem in here.services.catalogue.problems:
        here.observer.found("tools", f"cannot be probed: {problem}")
    calls = [_call(here, rival, spec.name) for spec in specs for rival in here.rivals]
    await asyncio.gather(*calls)
    return len(calls)


async def _call(here: World, rival: Rival, name: str) -> None:
    tenant = await here.services.directory.tenant(rival.tenant_id)
    tool = here.services.catalogue.build(tenant).get(name) if tenant else None
    if tool is None:
        here.observer.found(f"tool {name}", "cannot be probed: its factory made nothing")
        return
    schema = convert_to_openai_tool(tool)["function"]["parameters"]
    text = f"{CALL}{name} {orjson.dumps(_arguments(schema, rival)).decode()}"
    called = await _worked(here, rival, "POST", "/v1/chat", json={"message": text})
    spec = here.services.catalogue.spec(name)
    if "interrupt" in called and spec is not None and not spec.requires_approval:
        # the tenant wants to be asked: answer here, and leave the same question open over there
        await _worked(here, rival, "POST", "/v1/chat", json={"message": text})
        approval = {"thread_id": called["thread_id"], "resume": APPROVE}
        await _worked(here, rival, "POST", "/v1/chat", json=approval)


def _arguments(schema: Mapping[str, Any], rival: Rival) -> dict[str, Any]:
    """Something of the right type for each argument that must be there."""
    made: dict[str, Any] = {"string": rival.canary("argument"), "integer": 1, "number": 1.5}
    made |= {"boolean": False, "array": [], "object": {}}
    properties = schema.get("properties", {})
    return {n: made.get(properties[n].get("type")) for n in schema.get("required", [])}
