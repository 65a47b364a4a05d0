"""`tenantry bench …`"""

import ipaddress
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, say, settings_for, show, stores_for
from tenancy.errors import Failure, Invalid

if TYPE_CHECKING:
    from server.noisy_neighbour.bench import Findings, Load

benchmarks = typer.Typer(help="Measure the running deployment.", no_args_is_help=True)
app.add_typer(benchmarks, name="bench")

TABLE_COLUMNS = 100  # a narrower page wraps the lines; rich would cut the figures
OURS = "--i-own-this-deployment"


@benchmarks.command("noisy-neighbour")
def noisy_neighbour(
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, max=300, help="How long each phase lasts.")
    ] = 20,
    callers: Annotated[
        int, typer.Option("--flood", min=1, max=500, help="Callers of the noisy tenant.")
    ] = 24,
    quiet_per_second: Annotated[
        float, typer.Option("--quiet-rate", min=0.1, max=50, help="Its neighbour's, a second.")
    ] = 2,
    png: Annotated[Path, typer.Option("--png", help="Where to draw it.")] = Path(
        "noisy-neighbour.png"
    ),
    owned: Annotated[
        bool, typer.Option(OURS, help="Flood a server that is not on loopback.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Flood one tenant of the running deployment, and show what another one feels of it.

    Makes two tenants, measures with protection off and on, and removes them. The model is asked
    for real, by thousands of requests.
    """
    _require_place(png)
    url = _server(data_dir)
    require_ours(url, owned=owned)
    from server.noisy_neighbour.bench import Load

    load = Load(seconds, callers, quiet_per_second)
    findings = _measured(data_dir, url, load)
    _report(findings, {"url": url, **asdict(load)}, as_json=as_json)
    _draw(findings, load, png)
    if any(each.quiet.over_limit for each in findings.outcomes):
        raise typer.Exit(1)


def _require_place(path: Path) -> None:
    """Raises `Invalid` now rather than after minutes of measuring."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise Invalid("--png", f"{path} cannot be written")


def _server(data_dir: Path | None) -> str:
    from server.beacon import running_server

    settings = settings_for(data_dir)
    url = running_server(settings.data_dir)
    if url is None:
        raise Failure(f"No server of {settings.data_dir} is running: start it with `tenantry up`.")
    return url


def require_ours(url: str, *, owned: bool) -> None:
    """Raises `Invalid` for a server that others may use, unless it is said to be one's own."""
    if not owned and not ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback:
        raise Invalid(OURS, f"must be said, for {url} is not on loopback")


def _measured(data_dir: Path | None, url: str, load: "Load") -> "Findings":
    with stores_for(data_dir) as (_, stores):
        from server.logs import configure_logs
        from server.noisy_neighbour.bench import run_bench

        if stores.owner_url is None:
            raise Failure(
                "The bench makes tenants, which needs the owner of the database: "
                "set TENANTRY_OWNER_DATABASE_URL."
            )
        configure_logs(logging.ERROR)
        return run_bench(stores, url, load, say)


def _report(findings: "Findings", asked: Mapping[str, Any], *, as_json: bool) -> None:
    from server.noisy_neighbour import report

    outcomes = findings.outcomes
    for warning in report.warnings(outcomes):
        say(warning)
    if as_json:
        show({**asked, "model": findings.model, **report.as_json(outcomes)}, as_json=True)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, TABLE_COLUMNS)
    console.print(report.table(outcomes))
    console.print(report.verdict(outcomes), soft_wrap=True)


def _draw(findings: "Findings", load: "Load", path: Path) -> None:
    from server.noisy_neighbour.picture import draw

    caption = (
        f"{load.callers} callers flood, {load.quiet_per_second:g} quiet questions a second, "
        f"{load.seconds:g} s a curve; {findings.model}"
    )
    try:
        draw(findings.outcomes, path, caption=caption)
    except ImportError:
        say("There is no picture without matplotlib: `uv sync --extra bench` installs it.")
        return
    say(f"Drawn in {path}.")
