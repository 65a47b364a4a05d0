"""Whether every table, policy, index, key, function and grant of a database keeps tenants apart.

One statement put together from the rules of `sql/catalogue_lint.sql`.
"""

from dataclasses import dataclass
from functools import cache

from psycopg import AsyncConnection

from storage.postgres import Row
from storage.queries import Query, load, query

RULES = "catalogue_lint"


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule, and the object that breaks it."""

    rule: str
    object: str

    def __str__(self) -> str:
        return f"{self.object} {load(RULES)[self.rule].about}"


async def lint(conn: AsyncConnection[Row]) -> list[Violation]:
    """What breaks a rule, by rule and name; `conn` may be of any role, and in autocommit."""
    async with conn.transaction():
        await conn.execute(query("empty_search_path").sql)
        rows = await (await conn.execute(all_rules().sql)).fetchall()
    return [Violation(row["rule"], row["object"]) for row in rows]


@cache
def all_rules() -> Query:
    """Every rule in one round trip."""
    each = [
        b"select '" + name.encode() + b"' as rule, object from (" + rule.sql + b") broken"
        for name, rule in load(RULES).items()
    ]
    return Query(RULES, b" union all ".join(each) + b" order by rule, object")
