"""`tenantry bench` beside a running server: it measures, tidies up, and refuses."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from server.beacon import beacon
from server.cli import main
from server.listener import listening, url_of
from server.stores import DATABASE, Stores
from storage import embedded
from tests.support.commands import Foreground, Terminal, wait_until
from tests.support.model_server import ModelServer
from tests.support.stores import open_folder

BENCH = ("bench", "noisy-neighbour", "--seconds", "1", "--flood", "3")


@dataclass(frozen=True, slots=True)
class Deployment:
    """A running server whose model is scripted, and the terminal beside it."""

    terminal: Terminal
    up: Foreground

    def traces(self) -> list[str]:
        """Where in Postgres and Redis there is anything of a bench."""
        with embedded.attach_or_start(self.terminal.data_dir) as servers:
            assert servers.postgres_url
            assert servers.redis_url
            return [*_rows(servers.postgres_url), *_keys(servers.redis_url)]


def _rows(admin_url: str) -> list[str]:
    with psycopg.connect(admin_url, dbname=DATABASE) as conn:
        columns = conn.execute(
            "select table_schema, table_name, column_name from information_schema.columns"
            " where table_schema in ('control', 'tenantry') and column_name in"
            " ('tenant_id', 'plan_id')"
        ).fetchall()
        assert len(columns) > 10
        return [
            f"{schema}.{table}"
            for schema, table, column in columns
            if conn.execute(
                sql.SQL("select 1 from {} where {} like 'bench-%' limit 1").format(
                    sql.Identifier(schema, table), sql.Identifier(column)
                )
            ).fetchone()
        ]


def _keys(url: str) -> list[str]:
    client = redis.Redis.from_url(url)
    try:
        return [key.decode() for key in client.scan_iter() if b"bench-" in key]
    finally:
        client.close()


@pytest.fixture(scope="module")
async def deployment(model: ModelServer) -> AsyncIterator[Deployment]:
    with open_folder() as folder:
        terminal = Terminal(
            folder,
            {
                "OPENAI_BASE_URL": model.base_url,
                "TENANTRY_MODEL": "scripted",
                "TENANTRY_EMBEDDING_MODEL": "scripted-embeddings",
            },
        )
        up = await asyncio.to_thread(lambda: terminal.start("up", "--port", "0").wait_ready())
        try:
            yield Deployment(terminal, up)
        finally:
            assert await asyncio.to_thread(up.stop) == 0


async def test_both_tenants_are_measured_and_nothing_is_left_of_them(
    deployment: Deployment,
) -> None:
    png = deployment.terminal.folder / "drawn.png"
    words = (*BENCH, "--json", "--png", str(png))
    done = await asyncio.to_thread(deployment.terminal.run, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"] == "scripted"
    assert [each["name"] for each in found["phases"]] == ["alone", "off", "fair_queue", "limits"]
    for phase in found["phases"]:
        quiet = phase["quiet"]
        assert quiet["answered"] == quiet["requests"] == 2
        assert quiet["p50_ms"] <= quiet["p95_ms"] <= quiet["max_ms"]
    _, off, queue, limits = (each["noisy"] for each in found["phases"])
    assert off["answered"] == off["requests"] > 3
    assert queue["answered"] == queue["requests"] > 3
    assert limits["over_limit"] > 0
    assert limits["answered"] > 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert deployment.traces() == []


async def test_a_bench_that_is_interrupted_leaves_nothing(deployment: Deployment) -> None:
    # a background job of a shell ignores interrupts, and all that it starts does
    signal.signal(signal.SIGINT, signal.default_int_handler)
    bench = deployment.terminal.start(*BENCH, "--seconds", "30")  # it does not end by itself first
    await asyncio.to_thread(wait_until, lambda: any("unprotected" in line for line in bench.stderr))
    assert "control.tenants" in deployment.traces()
    assert await asyncio.to_thread(bench.stop, signal.SIGINT) == 130
    assert deployment.traces() == []


def test_without_a_server_there_is_nothing_to_measure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*BENCH, "--data-dir", str(tmp_path)])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"tenantry: No server of {tmp_path} is running: start it with `tenantry up`.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_who_does_not_know_the_owner_of_the_database_makes_no_tenants(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stores: Stores,
) -> None:
    assert stores.seal_key
    monkeypatch.setenv("DATABASE_URL", stores.app_url)
    monkeypatch.setenv("REDIS_URL", stores.redis_url)
    monkeypatch.setenv("TENANTRY_SEAL_KEY", stores.seal_key.text)
    with (
        listening("127.0.0.1", 0) as listener,
        beacon(tmp_path, url_of(listener)),
        pytest.raises(SystemExit) as ended,
    ):
        main([*BENCH, "--data-dir", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (1, "")
    assert err.count("\n") == 1
    assert "TENANTRY_OWNER_DATABASE_URL" in err


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*BENCH, "--png", str(tmp_path / "no" / "such.png"), "--data-dir", str(tmp_path)])
    assert ended.value.code == 2
    assert "--png" in capsys.readouterr().err
