-- On whose behalf a connection acts, and what its role may do.

-- query: enter
-- Says, with its seal, on whose behalf this transaction acts; local to it.
select tenantry.enter(%(tenant_id)s, %(seal)s)

-- query: who_am_i
-- Whether the connected role could bypass row-level security, and what it owns.
select r.rolname as role, r.rolsuper as superuser, r.rolbypassrls as bypasses, r.rolcreaterole as creates_roles,
       r.rolcreatedb as creates_databases,
       exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('tenantry', 'control')
                  and (pg_has_role(r.oid, c.relowner, 'member')
                       or pg_has_role(r.oid, n.nspowner, 'member'))) as owns_tables,
       exists (select 1 from pg_roles o where (o.rolsuper or o.rolbypassrls) and o.rolname <> r.rolname
                  and pg_has_role(r.oid, o.oid, 'member')) as can_become_more
  from pg_roles r where r.rolname = current_user

-- query: has_schema
-- Whether the migrations ever ran.
select to_regnamespace('tenantry') is not null as migrated

-- query: applied_migrations
-- Numbers and checksums of the migrations that ran.
select number, checksum from tenantry.applied_migrations() order by number

-- query: current_tenant
-- On whose behalf this transaction acts; null where no seal holds.
select tenantry.current_tenant() as tenant_id

-- query: empty_search_path
-- Has the catalogue print names in full, until the end of the transaction.
select set_config('search_path', 'pg_catalog', true)
