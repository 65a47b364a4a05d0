-- An issuer says how its tokens are read, and where its keys are published.
set local lock_timeout = '5s';

alter table control.issuers
    add column rules jsonb not null default '{}' check (jsonb_typeof(rules) = 'object'),
    add column jwks_url text check (jwks_url like 'https://%'),
    alter column jwks set default '{}';

drop function tenantry.issuer_record(text);
create function tenantry.issuer_record(p_url text)
    returns table (url text, audience text, jwks jsonb, jwks_url text, tenants text[], platform boolean, rules jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select i.url, i.audience, i.jwks, i.jwks_url, i.tenants, i.platform, i.rules
      from control.issuers i where i.url = p_url;
end;
revoke execute on function tenantry.issuer_record(text) from public;
grant execute on function tenantry.issuer_record(text) to tenantry_app;
