"""Lists of the words of each large tenant, from which its searches are answered.

Of everybody else a search reads every passage: exact, and quick enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

from storage.indexes import NO_WISHES, Wishes
from storage.postgres import translated
from storage.queries import query
from storage.seal import AppDatabase
from tenancy.ids import TenantId

LIST_AT = 3_000  # passages, of which reading each takes 35 ms; kept down to the half
NEW_ENOUGH = 500  # passages that are not listed: a search reads each of them
MOST_SEGMENTS = 8  # a word is looked up in every one
MOST_GONE = 5  # anew when one in five listed passages is gone


class Step(StrEnum):
    """What a tenant's lists need."""

    NOTHING = "nothing"
    ADD = "add"
    ANEW = "anew"
    FORGET = "forget"


@dataclass(frozen=True, slots=True)
class Listed:
    """How much of a tenant is in its lists."""

    passages: int
    unlisted: int
    segments: int
    entries: int  # listed, of passages that are there or gone

    def next_step(self, wish: bool | None = None) -> Step:
        """What is due; an operator's wish counts more than the size."""
        share = 2 if self.segments else 1
        large = self.passages * share >= LIST_AT if wish is None else wish
        if not large or self.passages < LIST_AT // 2:  # of so few, no search reads the lists
            return Step.FORGET if self.segments else Step.NOTHING
        gone = self.entries - (self.passages - self.unlisted)
        if not self.segments or gone * MOST_GONE > self.entries:
            return Step.ANEW
        if self.unlisted < NEW_ENOUGH:
            return Step.NOTHING
        return Step.ANEW if self.segments >= MOST_SEGMENTS else Step.ADD


def tend_word_lists(
    database: AppDatabase, tenants: Sequence[TenantId], wishes: Wishes = NO_WISHES
) -> int:
    """Do what is due, tenant by tenant in a transaction each: how many tenants it was due for."""
    with translated(), psycopg.connect(database.url, autocommit=True, connect_timeout=5) as conn:
        return sum(_tend(conn, database, tenant_id, wishes.get(tenant_id)) for tenant_id in tenants)


def _tend(
    conn: psycopg.Connection[tuple[object, ...]],
    database: AppDatabase,
    tenant_id: TenantId,
    wish: bool | None,
) -> bool:
    of = {"tenant_id": tenant_id}
    with conn.transaction(), conn.cursor(row_factory=class_row(Listed)) as cursor:
        conn.execute(query("enter").sql, database.entry(tenant_id))
        if conn.execute(query("lock_word_lists").sql, of).fetchone() != (True,):
            return False  # another worker is at it
        listed = cursor.execute(query("count_listed").sql, of).fetchone()
        step = listed.next_step(wish) if listed else Step.NOTHING
        if step is Step.FORGET:
            conn.execute(query("forget_words").sql, of)
        elif step is not Step.NOTHING:
            conn.execute(query("list_words").sql, {**of, "anew": step is Step.ANEW})
    return step is not Step.NOTHING
