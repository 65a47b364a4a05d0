"""`tenantry token …`, `tenantry key …`, `tenantry revocation …`"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer

from server.cli import app
from server.cli.terminal import (
    DataDir,
    Json,
    TenantName,
    control_for,
    duration,
    settings_for,
    show,
)
from tenancy.credentials import ApiKey
from tenancy.errors import Invalid, Misconfigured
from tenancy.ids import KeyId, SubjectId, TenantId, parse_subject_id, parse_tenant_id
from tenancy.principal import TENANT_SCOPES, Role, Scope

tokens = typer.Typer(help="Issue tokens for development.", no_args_is_help=True)
keys = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True)
revocations = typer.Typer(help="End credentials before they expire.", no_args_is_help=True)
app.add_typer(tokens, name="token")
app.add_typer(keys, name="key")
app.add_typer(revocations, name="revocation")

Subject = Annotated[str, typer.Option("--subject", help="Who the caller is inside the tenant.")]
KeyArgument = Annotated[UUID, typer.Argument(metavar="KEY_ID")]
RoleName = Annotated[Role, typer.Option("--role")]
Scopes = Annotated[list[str] | None, typer.Option("--scope", help="Narrows the role; repeatable.")]


@tokens.command("issue")
def issue(
    tenant: TenantName,
    subject: Subject,
    role: RoleName = Role.MEMBER,
    ttl: Annotated[str, typer.Option("--ttl", help="90s, 15m, 1h, 7d")] = "1h",
    scope: Scopes = None,
    data_dir: DataDir = None,
) -> None:
    """Print a token of the development issuer, and nothing else."""
    settings = settings_for(data_dir)
    from server.dev_issuer import load_or_create
    from server.settings import Environment

    if settings.environment is Environment.PRODUCTION:
        raise Misconfigured("Production issues no tokens: register your issuer instead.")
    issuer = load_or_create(settings.data_dir, settings.audience)
    typer.echo(
        issuer.sign(
            parse_tenant_id(tenant, "--tenant"),
            parse_subject_id(subject, "--subject"),
            role,
            duration(ttl),
            scopes=_scopes(scope) or None,
        )
    )


@revocations.command("add")
def revoke(
    tenant: TenantName,
    everyone: Annotated[
        bool, typer.Option("--all", help="Everything issued until now for the tenant.")
    ] = False,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Everything issued until now for one caller.")
    ] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", help="One token: its iss.")] = None,
    token_id: Annotated[str | None, typer.Option("--token-id", help="One token: its jti.")] = None,
    data_dir: DataDir = None,
) -> None:
    """End credentials before they expire; runs in flight end too, within a second."""
    if (issuer is None) != (token_id is None):
        raise Invalid("--issuer", "and --token-id go together")
    if [everyone, subject is not None, token_id is not None].count(True) != 1:
        raise Invalid("--all", "or --subject or --issuer with --token-id is needed")
    what = {
        "subject": "" if subject is None else parse_subject_id(subject, "--subject"),
        "issuer": "" if issuer is None else parse_subject_id(issuer, "--issuer"),
        "token_id": "" if token_id is None else parse_subject_id(token_id, "--token-id"),
    }
    with control_for(data_dir) as control:
        control.revoke(parse_tenant_id(tenant, "--tenant"), **what)


@revocations.command("list")
def list_revocations(
    tenant: Annotated[str | None, typer.Option("--tenant")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List what was revoked, of a tenant or of all."""
    with control_for(data_dir) as control:
        rows = control.revocations(None if tenant is None else parse_tenant_id(tenant, "--tenant"))
    columns = ("tenant_id", "subject", "issuer", "token_id", "revoked_at")
    show(rows, as_json=as_json, columns=columns)


@keys.command("create")
def create_key(
    tenant: TenantName,
    subject: Subject,
    role: RoleName = Role.MEMBER,
    ttl: Annotated[str | None, typer.Option("--ttl", help="Without it, it never expires.")] = None,
    scope: Scopes = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Create an API key and show it, once."""
    from server import api_keys

    if role is Role.OPERATOR:
        raise Invalid("--role", "operator is no role inside a tenant")
    now = datetime.now(UTC)
    key_id, text, digest = api_keys.mint()
    key = ApiKey(
        key_id=key_id,
        tenant_id=parse_tenant_id(tenant, "--tenant"),
        subject_id=parse_subject_id(subject, "--subject"),
        role=role,
        scopes=_granted(role, scope),
        created_at=now,
        expires_at=None if ttl is None else now + duration(ttl),
    )
    with control_for(data_dir) as control:
        control.tenant(key.tenant_id)
        control.add_key(key, digest)
    show({"key_id": str(key_id), "key": text}, as_json=as_json)


@keys.command("list")
def list_keys(
    tenant: Annotated[str | None, typer.Option("--tenant")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """List the API keys of a tenant, or of all."""
    with control_for(data_dir) as control:
        rows = control.keys(None if tenant is None else parse_tenant_id(tenant, "--tenant"))
    times = ("last_used_at", "expires_at", "revoked_at", "replaced_by")
    columns = ("key_id", "tenant_id", "subject", "role", "scopes", *times)
    show(rows, as_json=as_json, columns=columns)


@keys.command("rotate")
def rotate_key(
    key_id: KeyArgument,
    overlap: Annotated[
        str, typer.Option("--overlap", help="How long the old key still holds; 0s ends it.")
    ] = "24h",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Put a new API key in the place of one that holds, and show it, once."""
    lasting = duration(overlap, "--overlap", least=0)
    with control_for(data_dir) as control:
        tenant_id = control.tenant_of_key(KeyId(key_id))
    made = asyncio.run(_rotate(tenant_id, KeyId(key_id), lasting, data_dir))
    show(made, as_json=as_json)


async def _rotate(
    tenant_id: TenantId, key_id: KeyId, overlap: timedelta, data_dir: Path | None
) -> dict[str, Any]:
    """As the app role: the tenant's audit is closed to the owner."""
    from server import api_keys
    from server.cli.rooms import OPERATOR_SUBJECT, tenant_for
    from storage.keys import PostgresKeys
    from tenancy.audit import AuditEvent, Outcome

    new_id, text, digest = api_keys.mint()
    event = AuditEvent(
        event_id=uuid4(),
        actor=OPERATOR_SUBJECT,
        subject_id=SubjectId(OPERATOR_SUBJECT),
        action="key.rotate",
        resource=str(key_id),
        outcome=Outcome.ALLOWED,
        created_at=datetime.now(UTC),
        attributes={"replaced_by": str(new_id)},
    )
    async with tenant_for(data_dir, tenant_id) as (_, cells):
        new = (new_id, digest)
        done = await PostgresKeys(cells).rotate(tenant_id, key_id, new, overlap, event)
    return {"key_id": str(new_id), "key": text, "old_expires_at": done.old_expires_at}


@keys.command("revoke")
def revoke_key(key_id: KeyArgument, data_dir: DataDir = None) -> None:
    """Revoke an API key for good."""
    with control_for(data_dir) as control:
        control.revoke_key(KeyId(key_id))


def _granted(role: Role, scope: list[str] | None) -> tuple[str, ...]:
    """The scopes on a key: a service without any said may do what a member may."""
    from tenancy.principal import MEMBER_SCOPES

    said = _scopes(scope)
    if role is Role.SERVICE and not said:
        return tuple(sorted(MEMBER_SCOPES))
    return said


def _scopes(said: list[str] | None) -> tuple[str, ...]:
    known = {each.value for each in TENANT_SCOPES}
    for word in said or []:
        if word not in known:
            raise Invalid("--scope", f"{word} is none of {', '.join(sorted(known))}")
    return tuple(Scope(word).value for word in said or [])
