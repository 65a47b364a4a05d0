"""Waiting without a stopwatch: a machine that is held up says nothing of the product."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

HANG_SECONDS = 20.0  # what takes longer does not happen at all
LOOK_SECONDS = 0.01


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> float:
    """The seconds until `check` is true, counted in looks at it, of which each takes a hundredth.

    Raises `TimeoutError` after as many looks as make `seconds`.
    """
    for look in range(round(seconds / LOOK_SECONDS)):
        if await check():
            return look * LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError(f"it did not come true within {seconds:g} seconds")
