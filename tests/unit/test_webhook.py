"""Posts to the operator's webhook: signed, tried again and given up, never led elsewhere."""

import hmac
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from server.webhook import PAUSES, Webhook, signature
from tests.support.receiver import Receiver

SECRET = "a secret of the receiver's and ours"
NOW = 1_800_000_000


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


class Hook:
    """A webhook that pauses without waiting, on a clock that goes by its pauses."""

    def __init__(self, url: str, **options: float) -> None:
        self.paused: list[float] = []
        self.webhook = Webhook(url, SECRET, pause=self.pause, clock=self._clock, **options)

    async def pause(self, seconds: float) -> None:
        self.paused.append(seconds)

    def _clock(self) -> float:
        return NOW + sum(self.paused)

    async def post(self, **payload: object) -> bool:
        try:
            return await self.webhook.post(payload)
        finally:
            await self.webhook.aclose()


async def test_a_post_is_signed_json(receiver: Receiver) -> None:
    event_id, at = uuid4(), datetime(2026, 12, 1, tzinfo=UTC)
    hook = Hook(receiver.url)
    assert await hook.post(id=event_id, at=at, used=7)
    [post] = receiver.posts
    assert post.json == {"id": str(event_id), "at": "2026-12-01T00:00:00Z", "used": 7}
    assert post.headers["Content-Type"] == "application/json"
    assert post.sent_at(SECRET) == NOW
    assert hook.paused == []


def test_a_signature_is_of_the_time_and_the_body() -> None:
    """As `printf '1800000000.{}' | openssl dgst -sha256 -hmac secret` has it."""
    signed = "bb7079132825ac793cea8c013c1dd24d926b9b02132245b10588d9e5c0df70d7"
    assert signature("secret", NOW, b"{}") == f"t={NOW},v1={signed}"


async def test_a_receiver_that_does_as_it_is_told_believes_us_alone(receiver: Receiver) -> None:
    page = Path(__file__).parents[2] / "docs" / "alerts.md"
    [code] = re.findall(r"```python\n(.+?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    known = {"hmac": hmac}
    exec(code, known)  # noqa: S102  # our own page
    await Hook(receiver.url).post(id="x")
    [post] = receiver.posts
    said = post.headers["X-Tenantry-Signature"]
    assert known["is_ours"](SECRET, said, post.body, NOW + 10)
    assert not known["is_ours"](SECRET + "!", said, post.body, NOW + 10)
    assert not known["is_ours"](SECRET, said, post.body + b" ", NOW + 10)
    assert not known["is_ours"](SECRET, said, post.body, NOW + 1000)
    assert not known["is_ours"](SECRET, said.replace("t=18", "t=19"), post.body, NOW + 10**8)


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
async def test_what_was_not_taken_is_tried_again_and_signed_anew(
    receiver: Receiver, status: int
) -> None:
    receiver.script(status, status)
    hook = Hook(receiver.url)
    assert await hook.post(id="x")
    assert hook.paused == [*PAUSES[:2]]
    assert [post.sent_at(SECRET) for post in receiver.posts] == [NOW, NOW + 1, NOW + 5]
    assert len({post.body for post in receiver.posts}) == 1


async def test_five_tries_are_made_with_growing_pauses(receiver: Receiver) -> None:
    receiver.script(*[500] * 9)
    hook = Hook(receiver.url)
    assert not await hook.post(id="x")
    assert len(receiver.posts) == 5
    assert hook.paused == sorted(hook.paused) == [*PAUSES]


async def test_nobody_is_led_elsewhere(receiver: Receiver) -> None:
    receiver.script(*[302] * 5)
    assert not await Hook(receiver.url).post(id="x")
    assert receiver.elsewhere == 0


async def test_a_proxy_of_the_environment_is_not_asked(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await Hook(receiver.url).post(id="x")


async def test_a_receiver_that_says_nothing_is_given_up() -> None:
    async with Receiver(silent=True) as receiver:
        hook = Hook(receiver.url, answer_seconds=0.01)
        assert not await hook.post(id="x")
    assert hook.paused == [*PAUSES]


async def test_a_receiver_that_is_down_gets_it_when_it_is_up() -> None:
    receiver = Receiver()
    async with receiver:
        hook = Late(receiver.url, receiver)
    async with AsyncExitStack() as hook.up:
        assert await hook.post(id="x")
        assert len(receiver.posts) == 1
    assert hook.paused == [*PAUSES[:3]]


class Late(Hook):
    """A webhook whose receiver starts in the third pause."""

    def __init__(self, url: str, receiver: Receiver) -> None:
        super().__init__(url)
        self.receiver = receiver
        self.up = AsyncExitStack()

    async def pause(self, seconds: float) -> None:
        await super().pause(seconds)
        if len(self.paused) == 3:
            await self.up.enter_async_context(self.receiver)
