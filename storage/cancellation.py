"""Cancellations that arrive together with what was waited for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def heeding(work: Awaitable[T], undo: Callable[[T], Awaitable[object]]) -> T:
    """The result of `work`, unless the task was cancelled meanwhile: then `undo` it, and raise.

    Drivers wait with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that
    meets the result (python/cpython#86296): a task that was told to end would go on.
    """
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # we are in one
    before = task.cancelling()
    result = await work
    if task.cancelling() > before:
        await undo(result)
        raise asyncio.CancelledError
    return result
