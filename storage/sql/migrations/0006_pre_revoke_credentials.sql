-- Credentials end before they expire: one token, all of a subject's, all of a tenant's.
set local lock_timeout = '5s';

create table control.revocations (
    tenant_id  text not null references control.tenants,
    subject_id text not null default '',            -- '' is everyone
    issuer     text not null default '',            -- of one token
    token_id   text not null default '',            -- its jti; '' is every credential until revoked_at
    revoked_at timestamptz not null default now(),
    primary key (tenant_id, subject_id, issuer, token_id),
    check ((issuer = '') = (token_id = '')),
    check (token_id = '' or subject_id = '')
);
create trigger announce after insert or update or delete on control.revocations
    for each statement execute function control.announce();

drop function tenantry.tenant_record(text);
create function tenantry.tenant_record(p_tenant text)
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
           -- for runs in flight: the door asks for the key itself
           (select array_agg(k.key_id) from control.api_keys k
             where k.tenant_id = t.tenant_id and k.revoked_at > now() - interval '1 day')
      from control.tenants t join control.plans p using (plan_id)
     where t.tenant_id = p_tenant;
end;
revoke execute on function tenantry.tenant_record(text) from public;
grant execute on function tenantry.tenant_record(text) to tenantry_app;
