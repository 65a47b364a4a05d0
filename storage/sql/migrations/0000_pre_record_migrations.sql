-- The record of what ran, which the server reads to know whether the schema is current.
set local lock_timeout = '5s';

create schema control;
create schema tenantry;
grant usage on schema tenantry to tenantry_app, tenantry_operator;
grant usage on schema control to tenantry_operator;

create table control.migrations (
    number     int primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
);

create function tenantry.applied_migrations() returns table (number int, checksum text)
    language sql stable security definer set search_path = pg_catalog, pg_temp
    begin atomic select m.number, m.checksum from control.migrations m order by m.number; end;
