"""Faults of a model endpoint in our words: never its body, the prompt or the key."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from json import JSONDecodeError

import aiohttp
import openai

from server.openai_wire.retry_after import retry_after
from tenancy.errors import ModelFailed, ModelTimeout

MAX_BODY_BYTES = 64 * 1024 * 1024  # 128 vectors of 4,096 figures are 12 MiB

NONSENSE = "The model endpoint's answer makes no sense."
BROKE_OFF = "The model endpoint's answer broke off."
UNREACHABLE = "The model endpoint is not reachable."


def refused(status: int, wanted: timedelta | None = None) -> ModelFailed:
    """The failure for an answer that is no success; `wanted` is the rest it asks for."""
    detail = f"The model endpoint answered {status}."
    return ModelFailed(detail, status=status, retry_after=wanted)


def nonsense() -> ModelFailed:
    """The failure for an answer that does not follow the protocol."""
    return ModelFailed(NONSENSE)


def translate(error: Exception) -> ModelFailed:
    """What a caller may see of `error`: a `ModelTimeout` for silence, else a `ModelFailed`."""
    if isinstance(error, ModelFailed):
        return error
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return ModelTimeout()
    if isinstance(error, openai.APIStatusError):
        return refused(error.status_code, retry_after(error.response.headers))
    if isinstance(error, aiohttp.ClientConnectorError | openai.APIConnectionError):
        return ModelFailed(UNREACHABLE)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return ModelFailed(BROKE_OFF)
    return nonsense()


@contextmanager
def translating() -> Iterator[None]:
    """Let the faults of an endpoint leave as failures of ours; the block does nothing else.

    The cause is cut off: aiohttp's and openai's errors carry headers and bodies.
    """
    try:
        yield
    except (aiohttp.ClientError, openai.OpenAIError, TimeoutError, JSONDecodeError) as error:
        raise translate(error) from None
