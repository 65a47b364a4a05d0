"""`tenantry verify-isolation`"""

import asyncio
import json
import logging
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, say, settings_for, show, stores_for
from tenancy.errors import Invalid

COLUMNS = ("check", "probes", "findings", "proves")


@app.command("verify-isolation")
def verify_isolation(
    report: Annotated[
        Path | None, typer.Option("--report", help="Where to write the signed report.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Only check the signature of this report.")
    ] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Seed leaks in stores of its own, and find them.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Try from outside whether tenants are kept apart here, with this deployment's tools.

    Makes two tenants, asks as both, calls every tool that needs no approval, and removes them.
    """
    if self_test:
        _self_test(data_dir, as_json=as_json)
        return
    if check is not None:
        _check(check, data_dir, as_json=as_json)
        return
    signed = _verified(data_dir)
    if report is not None:
        report.write_text(json.dumps(signed, indent=2) + "\n", encoding="utf-8")
    _show(signed["report"], signed, as_json=as_json)
    if not signed["report"]["isolated"]:
        raise typer.Exit(1)


def _verified(data_dir: Path | None) -> dict[str, Any]:
    with stores_for(data_dir) as (settings, stores):
        from server.logs import configure_logs
        from server.stores import report_key
        from server.verification.report import report_of, secret_of, sign
        from server.verification.verify import verify

        configure_logs(logging.ERROR)
        verdict = asyncio.run(verify(settings, stores))
        return sign(report_of(verdict), secret_of(report_key(settings)))


def _self_test(data_dir: Path | None, *, as_json: bool) -> None:
    """Every leak in an embedded Postgres and Redis that are thrown away."""
    with tempfile.TemporaryDirectory(prefix="tenantry-self-test-") as folder:
        changes = {"database_url": None, "owner_database_url": None, "redis_url": None}
        settings = settings_for(data_dir).model_copy(update={**changes, "data_dir": Path(folder)})
        from server.logs import silence_logs
        from server.stores import attached
        from server.verification.self_test import self_test

        silence_logs()
        with attached(settings) as stores:
            trials = asyncio.run(self_test(settings, stores))
    rows = [{**asdict(trial), "found": trial.found} for trial in trials]
    show(rows, as_json=as_json, columns=("leak", "found", "check", "finding"))
    found = sum(trial.found for trial in trials)
    say(f"{found} of {len(trials)} leaks found.")
    if found < len(trials):
        raise typer.Exit(1)


def _check(path: Path, data_dir: Path | None, *, as_json: bool) -> None:
    from server.stores import report_key
    from server.verification.report import secret_of, verified

    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise Invalid("--check", f"{path} cannot be read as JSON") from None
    found = verified(document, secret_of(report_key(settings_for(data_dir))))
    _show(found, {"report": found}, as_json=as_json)


def _show(report: dict[str, Any], signed: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show(signed, as_json=True)
        return
    found = [finding["check"] for finding in report["findings"]]
    rows = [{**each, "findings": found.count(each["check"])} for each in report["checks"]]
    show(rows, as_json=False, columns=COLUMNS)
    for finding in report["findings"]:
        say(f"{finding['check']}: {finding['where']}: {finding['what']}")
    verdict = "Tenants are kept apart" if report["isolated"] else "Tenants are not kept apart"
    say(f"{verdict}: {report['observations']} observations, {len(found)} findings.")
