"""What a long thread takes in Postgres: its checkpoints, with what they need, and its words.

    python -m bench.thread_size [--turns 60] [--characters 400] [--keep 1]

Turns of one thread through the HTTP interface of a server, each a question and an answer of so many
characters. Sizes are those of the rows as Postgres stores them; `--keep -1` prunes nothing.
"""

import argparse
import asyncio
import logging
import random
import tempfile
from pathlib import Path

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict

from server import runs
from tests.http.speech import answer
from tests.support.house import house
from tests.support.model_server import ModelServer, Reply
from tests.support.stores import cluster

SIZES = """
with mine as (select %(thread)s::text as id)
select (select count(*) from tenantry.checkpoints, mine where thread_id = id),
       (select sum(pg_column_size(c)) from tenantry.checkpoints c, mine where thread_id = id),
       (select sum(pg_column_size(b)) from tenantry.checkpoint_blobs b, mine where thread_id = id),
       (select sum(pg_column_size(w)) from tenantry.checkpoint_writes w, mine where thread_id = id),
       (select pg_column_size(words) from tenantry.threads, mine where thread_id::text = id)
"""
NAMES = ("checkpoints", "bytes of them", "bytes of blobs", "bytes of writes", "bytes of words")
SYLLABLES = ("ka", "lo", "mi", "ren", "tas", "vu", "shi", "nor", "pe", "dal")
DICE = random.Random(60)  # noqa: S311


def text_of(characters: int) -> str:
    """Words that compress no better than a language."""
    words = ("".join(DICE.choices(SYLLABLES, k=DICE.randint(1, 4))) for _ in range(characters))
    return " ".join(words)[:characters]


async def measured(turns: int, characters: int) -> list[int]:
    """The sizes in the order of `NAMES`, after so many turns."""
    with (
        cluster() as running,
        running.database() as stores,
        tempfile.TemporaryDirectory() as folder,
    ):
        async with (
            ModelServer() as model,
            house(stores, Path(folder), model) as product,
            product.client(await product.new_tenant("talker", tokens_per_minute=-1)) as client,
        ):
            thread = (await client.post("/v1/threads", json={})).json()["thread_id"]
            for _ in range(turns):
                model.script(Reply.text(text_of(characters)))
                await answer(client, text_of(characters), thread_id=thread)
        database = str(conninfo_to_dict(stores.app_url)["dbname"])
        with psycopg.connect(running.postgres_url, dbname=database) as conn:
            row = conn.execute(SIZES, {"thread": thread}).fetchone()
    return [int(size or 0) for size in row or ()]


def main() -> None:
    """Print what the thread takes, and all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--characters", type=int, default=400)
    parser.add_argument("--keep", type=int, default=runs.CHECKPOINTS_KEPT)
    options = parser.parse_args()
    runs.CHECKPOINTS_KEPT = options.keep
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)
    sizes = asyncio.run(measured(options.turns, options.characters))
    for name, size in zip(NAMES, sizes, strict=True):
        print(f"{name:16}{size:>12,}")
    print(f"{'bytes in all':16}{sum(sizes[1:]):>12,}")


if __name__ == "__main__":
    main()
