"""Two kinds of callers: some who wait for their answer, and one who comes when it is time."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import monotonic

from server.noisy_neighbour.latency import Answer

REFUSED_PAUSE_SECONDS = 0.05  # what a caller without manners does instead of obeying Retry-After

Ask = Callable[[], Awaitable[int]]  # the status
Clock = Callable[[], float]
Pause = Callable[[float], Awaitable[None]]


async def come_at_a_rate(
    ask: Ask,
    *,
    rate: float,
    seconds: float,
    clock: Clock = monotonic,
    pause: Pause = asyncio.sleep,
) -> list[Answer]:
    """Ask `rate` times a second, whatever became of those before; return all answers.

    Each is timed from when it was due, so that one who is held up counts what it waited for.
    """
    began = clock()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(max(1, round(rate * seconds))):
            due = began + number / rate
            await pause(max(0.0, due - clock()))
            tasks.append(group.create_task(_timed(ask, due, clock)))
    return [task.result() for task in tasks]


async def flood(
    ask: Ask,
    over: asyncio.Event,
    *,
    callers: int,
    most: int,
    clock: Clock = monotonic,
    pause: Pause = asyncio.sleep,
) -> list[Answer]:
    """Ask with `callers` who begin again at once, until it is `over` or `most` have been asked."""
    answers: list[Answer] = []
    left = iter(range(most))

    async def call() -> None:
        while not over.is_set() and next(left, None) is not None:
            answers.append(await _timed(ask, clock(), clock))
            if answers[-1].status != HTTPStatus.OK:
                await pause(REFUSED_PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return answers


async def _timed(ask: Ask, due: float, clock: Clock) -> Answer:
    status = await ask()
    return Answer(status, clock() - due)
