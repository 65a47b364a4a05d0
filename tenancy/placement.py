"""Where a tenant lives."""

from dataclasses import dataclass
from enum import StrEnum


class Placement(StrEnum):
    """How much of a cell a tenant has to itself (pool, silo, bridge)."""

    SHARED = "shared"
    DEDICATED = "dedicated"
    HYBRID = "hybrid"


@dataclass(frozen=True, slots=True)
class CellAddress:
    """One Postgres database and one Redis. The URLs carry passwords: never log them."""

    cell_id: str
    database_url: str
    redis_url: str

    def __repr__(self) -> str:
        return f"CellAddress({self.cell_id!r})"


FIRST_CELL = "first"
