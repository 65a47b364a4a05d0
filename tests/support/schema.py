"""The schema that the migrations make, as text: `python -m tests.support.schema` stores it anew."""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before langgraph is imported

from storage.embedded.binaries import POSTGRES, locate
from tests.support.stores import cluster

STORED = Path(__file__).parents[2] / "storage" / "sql" / "schema.sql"
HEADER = """\
-- The schema after every migration, for reading: nothing runs this file.
-- `python -m tests.support.schema` writes it; a test compares.
"""
NOISE = ("--", "\\", "SET ", "SELECT pg_catalog.set_config")


def dumped(url: str) -> str:
    """What pg_dump says of the schema, without its own comments and settings."""
    program = locate(POSTGRES, None).folder / "pg_dump"
    command = [program, "--schema-only", "--no-owner", "--no-comments", "--dbname", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kept = (line for line in text.splitlines() if not line.startswith(NOISE))
    return HEADER + "\n".join(_single_blanks(kept)).rstrip() + "\n"


def _single_blanks(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return kept


if __name__ == "__main__":
    with cluster() as running, running.database() as of_its_own:
        STORED.write_text(dumped(of_its_own.owner()), encoding="utf-8")
