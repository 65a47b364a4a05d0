-- Control tables: who the tenants are, what they bought, who may vouch for their users.
-- The app role has no grant here; it reaches what it needs through the definer functions below.
set local lock_timeout = '5s';

create table control.version (
    only_row boolean primary key default true check (only_row),
    version  bigint not null
);
insert into control.version (version) values (1);

create table control.plans (
    plan_id             text primary key check (plan_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    requests_per_minute bigint not null,
    burst               bigint not null,
    concurrent_runs     bigint not null,
    tokens_per_minute   bigint not null,
    tokens_per_day      bigint not null,
    tokens_per_month    bigint not null,
    max_output_tokens   bigint not null,
    documents           bigint not null,
    models              text[] not null,
    tools               text[] not null
);

-- A null URL is the deployment's own database and Redis, known from its settings.
create table control.cells (
    cell_id      text primary key,
    database_url text,
    redis_url    text
);
insert into control.cells (cell_id) values ('first');

create table control.tenants (
    tenant_id    text primary key check (tenant_id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    display_name text not null,
    status       text not null default 'active' check (status in ('active', 'suspended')),
    plan_id      text not null references control.plans,
    cell_id      text not null default 'first' references control.cells,
    placement    text not null default 'shared' check (placement in ('shared', 'dedicated', 'hybrid')),
    preferences  jsonb not null default '{}',
    created_at   timestamptz not null default now()
);
grant select (tenant_id, display_name, status, plan_id, cell_id, placement, created_at)
    on control.tenants to tenantry_operator;

create table control.tool_settings (
    tenant_id     text not null references control.tenants,
    tool          text not null,
    enabled       boolean,
    configuration jsonb not null default '{}',
    primary key (tenant_id, tool)
);

create table control.issuers (
    url        text primary key,
    audience   text not null,
    jwks       jsonb not null,
    tenants    text[],             -- null: every tenant
    platform   boolean not null default false,
    created_at timestamptz not null default now()
);

create table control.api_keys (
    key_id     uuid primary key,
    tenant_id  text not null references control.tenants,
    digest     bytea not null unique check (length(digest) = 32),
    subject_id text not null,
    role       text not null check (role in ('viewer', 'member', 'admin', 'service')),
    scopes     text[] not null default '{}',
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_keys_of_tenant on control.api_keys (tenant_id, created_at, key_id);

-- Every change is announced at once, and counted for a process that missed the announcement.
create function control.announce() returns trigger
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update control.version set version = version + 1;
    perform pg_notify('tenantry_control', '');
    return null;
end $$;

create trigger announce after insert or update or delete on control.plans
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.tenants
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.tool_settings
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.issuers
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.api_keys
    for each statement execute function control.announce();

-- The one place that says whose data this transaction may touch: defaults and policies call it.
-- A setting local to a transaction reads as '' after it, never as null again.
create function tenantry.current_tenant() returns text
    language sql stable parallel safe
    return nullif(pg_catalog.current_setting('app.tenant_id', true), '');

create function tenantry.control_version() returns bigint
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic select version from control.version; end;

create function tenantry.tenant_record(p_tenant text)
    returns table (tenant_id text, display_name text, status text, cell_id text,
                   preferences jsonb, plan jsonb, tools jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic
    select t.tenant_id, t.display_name, t.status, t.cell_id, t.preferences, to_jsonb(p),
           (select jsonb_object_agg(s.tool, jsonb_build_object('enabled', s.enabled,
                                                               'configuration', s.configuration))
              from control.tool_settings s where s.tenant_id = t.tenant_id)
      from control.tenants t join control.plans p using (plan_id)
     where t.tenant_id = p_tenant;
    end;

create function tenantry.issuer_record(p_url text)
    returns table (url text, audience text, jwks jsonb, tenants text[], platform boolean)
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic
    select i.url, i.audience, i.jwks, i.tenants, i.platform from control.issuers i where i.url = p_url;
    end;

create function tenantry.authenticate_key(p_digest bytea)
    returns table (key_id uuid, tenant_id text, subject_id text, role text, scopes text[],
                   created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic
    select k.key_id, k.tenant_id, k.subject_id, k.role, k.scopes,
           k.created_at, k.expires_at, k.revoked_at
      from control.api_keys k where k.digest = p_digest;
    end;

create function tenantry.list_keys(p_limit int, p_after_time timestamptz, p_after_id uuid)
    returns table (key_id uuid, tenant_id text, subject_id text, role text, scopes text[],
                   created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic
    select k.key_id, k.tenant_id, k.subject_id, k.role, k.scopes,
           k.created_at, k.expires_at, k.revoked_at
      from control.api_keys k
     where k.tenant_id = (select tenantry.current_tenant())
       and (p_after_id is null or (k.created_at, k.key_id) > (p_after_time, p_after_id))
     order by k.created_at, k.key_id limit p_limit;
    end;

create function tenantry.add_key(p_key_id uuid, p_digest bytea, p_subject text, p_role text,
                                 p_scopes text[], p_expires timestamptz) returns timestamptz
    language sql security definer set search_path = pg_catalog, pg_temp
    begin atomic
    insert into control.api_keys (key_id, tenant_id, digest, subject_id, role, scopes, expires_at)
    values (p_key_id, tenantry.current_tenant(), p_digest, p_subject, p_role, p_scopes, p_expires)
    returning created_at;
    end;

create function tenantry.revoke_key(p_key_id uuid) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
    begin atomic
    update control.api_keys set revoked_at = coalesce(revoked_at, now())
     where key_id = p_key_id and tenant_id = (select tenantry.current_tenant())
    returning true;
    end;

revoke execute on all functions in schema tenantry, control from public;
grant execute on all functions in schema tenantry to tenantry_app;
grant execute on function tenantry.current_tenant() to tenantry_operator;
