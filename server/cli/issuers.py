"""`tenantry issuer …`"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli import app
from server.cli.terminal import DataDir, Json, control_for, settings_for, show
from tenancy.credentials import Issuer
from tenancy.errors import Invalid, NotFound
from tenancy.ids import TenantId, parse_issuer_url, parse_tenant_id
from tenancy.token_rules import OURS, parse_token_rules

issuers = typer.Typer(help="Register the issuers whose tokens are accepted.", no_args_is_help=True)
app.add_typer(issuers, name="issuer")

MAX_FILE_BYTES = 1024 * 1024
Url = Annotated[str, typer.Argument(metavar="URL", help="The `iss` of its tokens, exactly.")]
COLUMNS = ("url", "audience", "tenants", "platform", "keys", "rules", "created_at")


@issuers.command("add")
def add_issuer(
    url: Url,
    jwks: Annotated[Path | None, typer.Option("--jwks", help="File with its key set.")] = None,
    jwks_url: Annotated[str | None, typer.Option("--jwks-url", help="https, fetched.")] = None,
    audience: Annotated[str | None, typer.Option("--audience")] = None,
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Repeatable.")] = None,
    any_tenant: Annotated[bool, typer.Option("--any-tenant")] = False,
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="VALUE=TENANT", help="Its name of a tenant; repeatable."),
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="File: how its tokens read.")
    ] = None,
    platform: Annotated[bool, typer.Option("--platform", help="May name operators.")] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Register an issuer, or replace it; it may speak only for the tenants named here."""
    if (jwks is None) == (jwks_url is None):
        raise Invalid("--jwks", "or --jwks-url is needed, and not both")
    read = OURS if rules is None else parse_token_rules(_read_json(rules, "--rules"))
    read = replace(read, tenants={**read.tenants, **_mapping(mapped or [])})
    named = {parse_tenant_id(each, "--tenant") for each in tenant or []} | {*read.tenants.values()}
    if bool(named) == any_tenant:
        raise Invalid("--tenant", "or --map or --any-tenant is needed, and not both")
    issuer = Issuer(
        url=parse_issuer_url(url, "URL"),
        audience=audience or settings_for(data_dir).audience,
        jwks={} if jwks is None else _read_json(jwks, "--jwks"),
        tenants=None if any_tenant else frozenset(named),
        platform=platform,
        jwks_url=jwks_url,
        rules=read,
    )
    from server.key_sets import require_keys

    asyncio.run(require_keys(issuer, jwks_url="--jwks-url"))
    _store(issuer, data_dir)
    show({"url": url, "audience": issuer.audience, "tenants": sorted(named)}, as_json=as_json)


@issuers.command("map")
def map_values(
    url: Url,
    pairs: Annotated[list[str], typer.Argument(metavar="VALUE=TENANT…")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Say which tenants an issuer's values stand for; an empty tenant takes a value back."""
    issuer = _registered(url, data_dir)
    said = _mapping(pairs, removing=True)
    kept = {value: named for value, named in issuer.rules.tenants.items() if value not in said}
    tenants = {**kept, **{value: named for value, named in said.items() if named}}
    if not tenants:
        raise Invalid("VALUE=TENANT", "would leave no value: remove the issuer instead")
    gone = {*issuer.rules.tenants.values()} - {*tenants.values()}
    speaks_for = None if issuer.tenants is None else (issuer.tenants - gone) | {*tenants.values()}
    rules = replace(issuer.rules, tenants=tenants)
    _store(replace(issuer, rules=rules, tenants=speaks_for), data_dir)
    show({"url": url, "tenants": tenants}, as_json=as_json)


@issuers.command("list")
def list_issuers(data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the registered issuers."""
    with control_for(data_dir) as control:
        rows = control.issuers()
    found = [row | {"keys": _keys_in(row)} for row in rows]
    show([{name: row[name] for name in COLUMNS} for row in found], as_json=as_json, columns=COLUMNS)


@issuers.command("check")
def check_token(url: Url, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Read a token from the standard input and say whom it names, or why it is refused."""
    issuer = _registered(url, data_dir)
    show(asyncio.run(_checked(sys.stdin.read().strip(), issuer)), as_json=as_json)


@issuers.command("remove")
def remove_issuer(url: Url, data_dir: DataDir = None) -> None:
    """Refuse an issuer's tokens from now on."""
    with control_for(data_dir) as control:
        control.remove_issuer(url)


async def _checked(text: str, issuer: Issuer) -> dict[str, Any]:
    from server.auth import scopes_of_token
    from server.jws import read_token
    from server.key_sets import KeySets
    from server.refusal import BadCredential
    from server.tokens import key_id_of, verify

    try:
        token = read_token(text)
        keys = await KeySets().of(issuer, key_id_of(token))
        claims = verify(token, issuer, keys, now=datetime.now(UTC))
    except BadCredential as refusal:
        raise Invalid("token", f"is refused: {refusal.reason}") from None
    return {
        "tenant": claims.tenant_id,
        "subject": claims.subject_id,
        "role": claims.role,
        "scopes": sorted(scopes_of_token(claims.role, claims.words, claims.granted)),
    }


def _store(issuer: Issuer, data_dir: Path | None) -> None:
    with control_for(data_dir) as control:
        for tenant_id in issuer.tenants or ():
            control.tenant(tenant_id)
        control.put_issuer(issuer)


def _registered(url: str, data_dir: Path | None) -> Issuer:
    from storage.directory import issuer_of

    with control_for(data_dir) as control:
        for row in control.issuers():
            if row["url"] == url:
                return issuer_of(row)
    raise NotFound(f"There is no issuer {url}.")


def _keys_in(row: Mapping[str, Any]) -> list[str] | str:
    return row["jwks_url"] or [str(key.get("kid")) for key in row["jwks"].get("keys", [])]


def _mapping(pairs: list[str], *, removing: bool = False) -> dict[str, TenantId]:
    mapping = {}
    for pair in pairs:
        value, found, tenant = pair.rpartition("=")
        if not found or not value:
            raise Invalid("VALUE=TENANT", f"{pair} is not of this form")
        if removing and not tenant:
            mapping[value] = TenantId("")
        else:
            mapping[value] = parse_tenant_id(tenant, f"the tenant of {value}")
    return dict(parse_token_rules({"tenants": mapping}).tenants) if not removing else mapping


def _read_json(path: Path, option: str) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise Invalid(option, f"{path} is longer than {MAX_FILE_BYTES} bytes")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise Invalid(option, f"{path} cannot be read as JSON") from None
    if not isinstance(document, dict):
        raise Invalid(option, f"{path} holds no JSON object")
    return document
