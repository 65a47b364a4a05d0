-- What an operator changes over HTTP. The server's own role cannot: it takes a connection as tenantry_operator,
-- which reaches these functions and no control table.
set local lock_timeout = '5s';

create function control.list_issuers(p_after text, p_limit int)
    returns table (url text, audience text, jwks jsonb, jwks_url text, tenants text[], platform boolean, rules jsonb,
                   created_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select i.url, i.audience, i.jwks, i.jwks_url, i.tenants, i.platform, i.rules, i.created_at
      from control.issuers i where p_after is null or i.url > p_after order by i.url limit p_limit;
end;

create function control.put_issuer(p_url text, p_audience text, p_jwks jsonb, p_jwks_url text, p_tenants text[],
                                   p_platform boolean, p_rules jsonb) returns void
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.issuers (url, audience, jwks, jwks_url, tenants, platform, rules)
    values (p_url, p_audience, p_jwks, p_jwks_url, p_tenants, p_platform, p_rules)
    on conflict (url) do update set audience = excluded.audience, jwks = excluded.jwks,
        jwks_url = excluded.jwks_url, tenants = excluded.tenants, platform = excluded.platform,
        rules = excluded.rules;
end;

create function control.remove_issuer(p_url text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from control.issuers where url = p_url returning true;
end;

create function control.set_status(p_tenant text, p_status text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    update control.tenants set status = p_status where tenant_id = p_tenant returning true;
end;

create function control.list_revocations(p_tenant text)
    returns table (tenant_id text, subject text, issuer text, token_id text, revoked_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select r.tenant_id, r.subject_id, r.issuer, r.token_id, r.revoked_at from control.revocations r
     where r.tenant_id = p_tenant order by r.revoked_at, r.subject_id, r.issuer, r.token_id;
end;

-- When it was revoked; nothing for a tenant that is not there.
create function control.revoke(p_tenant text, p_subject text, p_issuer text, p_token text) returns timestamptz
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.revocations (tenant_id, subject_id, issuer, token_id)
    select t.tenant_id, p_subject, p_issuer, p_token from control.tenants t where t.tenant_id = p_tenant
    on conflict (tenant_id, subject_id, issuer, token_id) do update set revoked_at = now()
    returning revoked_at;
end;

revoke execute on all functions in schema control from public;
grant execute on function control.list_issuers(text, int), control.remove_issuer(text),
    control.put_issuer(text, text, jsonb, text, text[], boolean, jsonb), control.set_status(text, text),
    control.list_revocations(text), control.revoke(text, text, text, text) to tenantry_operator;
