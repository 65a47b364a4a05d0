"""Vectors as Postgres reads them."""

from collections.abc import Sequence

import orjson


def vector_text(vector: Sequence[float]) -> str:
    """The text of a `public.vector`."""
    return orjson.dumps(list(vector)).decode()
