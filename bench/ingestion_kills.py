"""Processes that read files are killed at random: is any passage lost, twice or billed twice?

    python -m bench.ingestion_kills [--kills 20] [--files 8] [--passages 400] [--seed 1]

Files of two tenants are queued. One process after the other works on them and is killed with
SIGKILL at a random moment; the last one may finish. Stores of its own, a model that needs no time
to speak of, and a bill of one token a passage.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before langgraph is imported

import orjson

from knowledge.embedders import Embedders
from knowledge.ingest import Library
from knowledge.ports import Embedded
from server.ingestion import Ingestor
from server.stores import Stores
from storage.cells import Cells
from storage.documents import PostgresDocuments
from storage.ingestion import PostgresIngestion
from tenancy.document import DocumentStatus, Upload
from tenancy.ids import SubjectId
from tests.storage.makers import ACME, GLOBEX, open_cells, rows
from tests.support.stores import SEAL_KEY, cluster

LEASE_SECONDS = 0.4  # the next process need not wait long
LONGEST_LIFE = 0.5  # seconds from the first claim on
TENANTS = (ACME, GLOBEX)
SOUND = "select d.document_id, d.status, d.passages, d.passages_total, count(p.ordinal) as found,"
SOUND += " count(distinct p.ordinal) as distinct_found, coalesce(max(p.ordinal), -1) as last"
SOUND += " from documents d left join passages p using (tenant_id, document_id) group by 1, 2, 3, 4"
BILLED = "select coalesce(sum(quantity), 0)::int as tokens from usage_events"
LEFT = "select (select count(*) from uploads) + (select count(*) from staged_passages) as rows"


@dataclass(frozen=True, slots=True)
class Found:
    """What the tenants had in the end."""

    kills: int
    at_work: int  # of those, how many left something unfinished
    documents: int
    ready: int
    passages: int
    lost: int
    twice: int
    billed: int
    left: int

    @property
    def sound(self) -> bool:
        """Whether every file is a whole document, billed once."""
        whole = self.ready == self.documents and not self.lost and not self.twice
        return whole and self.billed == self.passages and not self.left


class Instant:
    """Embeds in two milliseconds, a token a text."""

    model = "instant"

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """A vector that says how long each text is."""
        await asyncio.sleep(0.002)
        return Embedded([(1.0, len(text) / 1000) for text in texts], len(texts))


def _ingestor(cells: Cells) -> Ingestor:
    library = Library(Embedders(Instant()), PostgresDocuments(cells))
    return Ingestor(PostgresIngestion(cells, lease_seconds=LEASE_SECONDS), library)


async def campaign(stores: Stores, *, kills: int, files: int, passages: int, seed: int) -> Found:
    """Queue files, kill who reads them `kills` times, let the last one finish, and count."""
    dice = random.Random(seed)  # noqa: S311  # the same moments every time, as far as it goes
    async with open_cells(stores) as cells:
        ingestor = _ingestor(cells)
        for number in range(files):
            tenant = TENANTS[number % len(TENANTS)]
            upload = Upload(f"{number}.txt", _text(number, passages))
            await ingestor.add(tenant, SubjectId("bench"), upload, max_documents=-1)
        at_work = 0
        for _ in range(kills):
            await asyncio.to_thread(_life, stores, dice.uniform(0, LONGEST_LIFE))
            at_work += not await _ended(cells)
        await _finish(ingestor, cells)
        return await _count(cells, kills, at_work)


def _text(number: int, passages: int) -> bytes:
    words = "The {0} of file {1} says that each thing is found once and is never lost. " * 12
    return "\n\n".join(words.format(each, number) for each in range(passages)).encode()


def _life(stores: Stores, seconds: float) -> None:
    command = [sys.executable, "-m", "bench.ingestion_kills", "--work"]
    command += [stores.app_url, stores.redis_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()


async def _finish(ingestor: Ingestor, cells: Cells) -> None:
    while not await _ended(cells):
        if not await ingestor.work_once():
            await asyncio.sleep(LEASE_SECONDS / 4)


async def _ended(cells: Cells) -> bool:
    states = {row["status"] for each in TENANTS for row in await rows(cells, SOUND, each)}
    return states <= {DocumentStatus.READY, DocumentStatus.FAILED}


async def _count(cells: Cells, kills: int, at_work: int) -> Found:
    documents: list[dict[str, Any]] = []
    billed = left = 0
    for tenant in TENANTS:
        documents += await rows(cells, SOUND, tenant)
        billed += (await rows(cells, BILLED, tenant))[0]["tokens"]
        left += (await rows(cells, LEFT, tenant))[0]["rows"]
    return Found(
        kills=kills,
        at_work=at_work,
        documents=len(documents),
        ready=sum(each["status"] == DocumentStatus.READY for each in documents),
        passages=sum(each["passages"] for each in documents),
        lost=sum(each["passages"] - each["distinct_found"] for each in documents)
        + sum(each["last"] + 1 != each["passages"] for each in documents),
        twice=sum(each["found"] - each["distinct_found"] for each in documents),
        billed=billed,
        left=left,
    )


async def _work(app_url: str, redis_url: str) -> None:
    stores = Stores(app_url, redis_url, SEAL_KEY)
    async with open_cells(stores, size=4) as cells:
        ingestor = _ingestor(cells)
        await ingestor.jobs.figures()  # connected
        sys.stdout.write("working\n")
        sys.stdout.flush()
        await ingestor.keep()


def main() -> int:
    """Run the campaign on stores of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", nargs=2)
    for name, default in (("kills", 20), ("files", 8), ("passages", 400), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    said = vars(parser.parse_args())
    if work := said.pop("work"):
        asyncio.run(_work(*work))
    with cluster() as running, running.database() as stores:
        found = asyncio.run(campaign(stores, **said))
    sys.stdout.write(orjson.dumps({**asdict(found), "sound": found.sound}).decode() + "\n")
    return 0 if found.sound else 1


if __name__ == "__main__":
    sys.exit(main())
