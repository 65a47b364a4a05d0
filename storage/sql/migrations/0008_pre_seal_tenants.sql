-- A tenant counts only with a seal: HMAC-SHA256 (RFC 2104) of its id under a key that the app role cannot
-- read. Who can run SQL as the app can name any tenant, and is none of them.
set local lock_timeout = '5s';

create table control.seal_keys (
    key_id     text primary key,                                      -- the start of the key's SHA-256
    inner_pad  bytea not null check (length(inner_pad) = 64),         -- the key, as the two hashes need it
    outer_pad  bytea not null check (length(outer_pad) = 64),
    created_at timestamptz not null default now()
);

-- Says on whose behalf this transaction, or this statement, acts. Returned for use as an argument: a
-- function's arguments are evaluated before it runs.
create function tenantry.enter(p_tenant text, p_seal text) returns text
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true), set_config('app.tenant_seal', p_seal, true);
    return p_tenant;
end $$;

-- The tenant whose seal holds, or null. Both sides are hashed once more, so that how long a comparison
-- takes says nothing. plpgsql keeps its plan, which SQL functions do only from PostgreSQL 18 on.
create or replace function tenantry.current_tenant() returns text
    language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := nullif(current_setting('app.tenant_id', true), '');
    v_seal   text := current_setting('app.tenant_seal', true);
begin
    perform from control.seal_keys k
      where sha256(convert_to(v_seal, 'UTF8')) = sha256(convert_to(encode(sha256(
            k.outer_pad || sha256(k.inner_pad || convert_to(v_tenant, 'UTF8'))), 'hex'), 'UTF8'));
    return case when found then v_tenant end;
end $$;

-- As before, for the tenant itself.
create or replace function tenantry.tenant_record(p_tenant text)
    returns table (tenant_id text, display_name text, status text, cell_id text,
                   preferences jsonb, plan jsonb, tools jsonb, revocations jsonb, revoked_keys uuid[])
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select t.tenant_id, t.display_name, t.status, t.cell_id, t.preferences, to_jsonb(p),
           (select jsonb_object_agg(s.tool, jsonb_build_object('enabled', s.enabled,
                                                               'configuration', s.configuration))
              from control.tool_settings s where s.tenant_id = t.tenant_id),
           (select jsonb_agg(jsonb_build_object('subject', r.subject_id, 'issuer', r.issuer, 'token', r.token_id,
                                                'at', extract(epoch from r.revoked_at)))
              from control.revocations r where r.tenant_id = t.tenant_id),
           (select array_agg(k.key_id) from control.api_keys k
             where k.tenant_id = t.tenant_id and k.revoked_at > now() - interval '1 day')
      from control.tenants t join control.plans p using (plan_id)
     where t.tenant_id = p_tenant and p_tenant = (select tenantry.current_tenant());
end;

-- As before, for the platform, which is sealed like a tenant of the name '*'.
drop function tenantry.issuer_record(text);
create function tenantry.issuer_record(p_platform text, p_url text)
    returns table (url text, audience text, jwks jsonb, jwks_url text, tenants text[], platform boolean, rules jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select i.url, i.audience, i.jwks, i.jwks_url, i.tenants, i.platform, i.rules
      from control.issuers i
     where i.url = p_url and p_platform = '*' and p_platform = (select tenantry.current_tenant());
end;

revoke execute on function tenantry.enter(text, text), tenantry.issuer_record(text, text) from public;
grant execute on function tenantry.enter(text, text), tenantry.issuer_record(text, text) to tenantry_app;
