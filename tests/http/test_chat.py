"""One turn over HTTP: answers, memory, refusals and failures."""

import asyncio
from uuid import uuid4

from tests.support.house import House
from tests.support.model_server import Reply


async def test_a_turn_is_answered_in_the_contracts_shape(product: House) -> None:
    product.model.script(Reply.text("Hello."))
    async with product.client("acme") as acme:
        answer = (await acme.post("/v1/chat", json={"message": "Hi"})).json()
    assert set(answer) == {"run_id", "thread_id", "answer", "citations", "usage", "model"}
    assert answer["answer"] == "Hello."


async def test_a_second_turn_remembers_the_first(product: House) -> None:
    async with product.client("acme") as acme:
        first = (await acme.post("/v1/chat", json={"message": "My name is Ada."})).json()
        await acme.post("/v1/chat", json={"message": "Who?", "thread_id": first["thread_id"]})
    said = [m["content"] for m in product.model.chat_requests[-1]["messages"]]
    assert "My name is Ada." in said


async def test_the_prompt_names_the_tenant(product: House) -> None:
    async with product.client("globex") as globex:
        await globex.post("/v1/chat", json={"message": "Hi"})
    assert "tenant_id: globex" in product.model.chat_requests[-1]["messages"][0]["content"]


async def test_an_unknown_thread_and_anothers_look_the_same(product: House) -> None:
    async with product.client("acme") as acme, product.client("globex") as globex:
        own = (await acme.post("/v1/chat", json={"message": "Hi"})).json()
        foreign = {"message": "Hi", "thread_id": own["thread_id"]}
        missing = {"message": "Hi", "thread_id": str(uuid4())}
        answers = [await globex.post("/v1/chat", json=body) for body in (foreign, missing)]
    assert [a.status_code for a in answers] == [404, 404]
    assert answers[0].content == answers[1].content


async def test_two_turns_on_one_thread_do_not_run_at_once(product: House) -> None:
    async with product.client("acme") as acme:
        thread = (await acme.post("/v1/threads", json={})).json()["thread_id"]
        product.model.hold()
        first = asyncio.create_task(acme.post("/v1/chat", json={"message": "a", "thread_id": thread}))
        await asyncio.sleep(0.5)
        second = await acme.post("/v1/chat", json={"message": "b", "thread_id": thread})
        product.model.release()
        assert (await first).status_code == 200
        assert second.status_code == 409
        assert second.headers["retry-after"]
        messages = (await acme.get(f"/v1/threads/{thread}")).json()["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"]
