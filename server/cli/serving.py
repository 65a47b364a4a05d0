"""`tenantry up`, `serve`, `worker`, `migrate`, `doctor`."""

from typing import Annotated

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, settings_for, show, stores_for

Host = Annotated[str | None, typer.Option("--host", help="Address to serve on.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port to serve on.")]


@app.command("up")
def up(
    demo: Annotated[bool, typer.Option("--demo", help="With two rival tenants.")] = False,
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
) -> None:
    """Start everything: stores, migrations and the server, until Ctrl-C."""
    settings = settings_for(data_dir, host=host, port=port)
    from server.supervisor import run_up

    raise typer.Exit(run_up(settings, demo=demo))


@app.command("serve")
def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    parent_fd: Annotated[int | None, typer.Option("--parent-fd", hidden=True)] = None,
) -> None:
    """Serve, on stores that are there and migrated."""
    settings = settings_for(data_dir, warn=parent_fd is None, host=host, port=port)
    settings = settings.model_copy(update={"owner_database_url": None})  # .env may hold it
    from server.stores import served

    with served(settings) as stores:
        from server.serving import serve as run

        run(settings, stores, parent_fd)


@app.command("migrate")
def migrate(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Bring the database up to date, and make the roles that are missing."""
    with stores_for(data_dir, makes_roles=True) as (_, stores):
        from server.stores import prepare

        applied = prepare(stores)
    if as_json:
        show({"applied": applied}, as_json=True)
    else:
        typer.echo("\n".join(applied) or "The database is up to date.")


@app.command("worker")
def worker(
    once: Annotated[bool, typer.Option("--once", help="One round, then exit.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Keep the deployment in shape: indexes of large tenants, vectors, counters."""
    with stores_for(data_dir) as (settings, stores):
        from server.worker import run_worker

        run_worker(stores, settings, once=once)


@app.command("doctor")
def doctor(data_dir: DataDir = None, as_json: Json = False) -> None:
    """Check settings, stores, roles, isolation, model and tools."""
    settings = settings_for(data_dir)
    from server.doctor import examine

    findings = examine(settings)
    show(findings, as_json=as_json, columns=("check", "ok", "detail"))
    if not all(each["ok"] for each in findings):
        raise typer.Exit(1)
