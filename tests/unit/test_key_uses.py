"""Uses of keys are marked without waiting, noted once a minute, and lost by nothing but a crash."""

import asyncio
from uuid import uuid4

import pytest

from server.key_uses import NOTE_SECONDS, KeyUses
from tenancy.errors import Unavailable
from tenancy.ids import KeyId

FIRST, SECOND = KeyId(uuid4()), KeyId(uuid4())


class Notes:
    """A clock, and what was noted by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.noted: list[dict[KeyId, float]] = []
        self.fault: BaseException | None = None
        self.uses = KeyUses(self.note, lambda: self.now)

    async def note(self, ages) -> None:
        if self.fault is not None:
            raise self.fault
        self.noted.append(dict(ages))

    def mark(self, key_id: KeyId, at: float) -> None:
        self.now = at
        self.uses.mark(key_id)


@pytest.fixture
def notes() -> Notes:
    return Notes()


async def test_many_uses_are_one_note_of_the_last(notes: Notes) -> None:
    for second in range(30):
        notes.mark(FIRST, second)
        notes.mark(SECOND, second / 2)
    notes.now = 60
    await notes.uses.flush()
    assert notes.noted == [{FIRST: 31, SECOND: 45.5}]


async def test_nothing_used_is_nothing_noted(notes: Notes) -> None:
    notes.mark(FIRST, 1)
    await notes.uses.flush()
    await notes.uses.flush()
    assert len(notes.noted) == 1


@pytest.mark.parametrize("fault", [Unavailable(), asyncio.CancelledError()], ids=repr)
async def test_what_could_not_be_noted_is_noted_later(notes: Notes, fault: BaseException) -> None:
    notes.mark(FIRST, 10)
    notes.mark(SECOND, 20)
    notes.fault = fault
    if isinstance(fault, Unavailable):
        await notes.uses.flush()
    else:
        with pytest.raises(asyncio.CancelledError):
            await notes.uses.flush()
    notes.fault = None
    notes.mark(SECOND, 30)
    await notes.uses.flush()
    assert notes.noted == [{FIRST: 20, SECOND: 0}]


async def test_what_is_used_while_a_note_fails_is_not_set_back(notes: Notes) -> None:
    async def fail(_ages) -> None:
        notes.mark(FIRST, 50)
        raise Unavailable

    notes.uses._note = fail
    notes.mark(FIRST, 10)
    await notes.uses.flush()
    notes.uses._note, notes.now = notes.note, 60
    await notes.uses.flush()
    assert notes.noted == [{FIRST: 10}]


async def test_a_minute_passes_between_notes(notes: Notes) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 3:
            raise asyncio.CancelledError
        notes.mark(FIRST, notes.now + seconds)

    with pytest.raises(asyncio.CancelledError):
        await notes.uses.keep(pause)
    assert pauses == [NOTE_SECONDS] * 4
    assert notes.noted == [{FIRST: 0}] * 3
