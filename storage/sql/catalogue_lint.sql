-- The rules that a database is held to: each query lists the objects that break its rule, and its second
-- line is what the operator reads. Names are printed in full: the lint empties the search path first.

-- query: unknown_kind
-- is neither a table nor an index: a view reads with its owner's rights, a sequence counts for everybody
select c.oid::regclass::text as object from pg_class c
 where c.relnamespace in ('tenantry'::regnamespace, 'control'::regnamespace)
   and c.relkind not in ('r', 'p', 'i', 'I')

-- query: foreign_owner
-- does not belong to the owner of its schema
select c.oid::regclass::text as object from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('tenantry', 'control') and c.relkind not in ('i', 'I') and c.relowner <> n.nspowner
union all
select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname in ('tenantry', 'control') and p.proowner <> n.nspowner

-- query: open_table
-- has row-level security off, or not forced upon its owner
select c.oid::regclass::text as object from pg_class c
 where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p')
   and not (c.relrowsecurity and c.relforcerowsecurity)

-- query: no_policy
-- has no policy that binds the app role to its tenant
select c.oid::regclass::text as object from pg_class c
 where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p')
   and not exists (select from pg_policies p
                    where p.schemaname = 'tenantry' and p.tablename = c.relname
                      and p.policyname = 'tenant_isolation')

-- query: unknown_policy
-- is another policy than there are: a tenant's own rows, to erase for the owner, usage and audit for the operator
select format('%I on tenantry.%I', p.policyname, p.tablename) as object from pg_policies p
 where p.schemaname = 'tenantry'
   and (p.policyname, p.roles::text, p.cmd, p.permissive, p.qual, coalesce(p.with_check, '')) not in
       (('tenant_isolation', '{tenantry_app}', 'ALL', 'PERMISSIVE',
         '(tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))',
         '(tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))'))
   and not (p.tablename in ('usage_events', 'audit_events')
            and (p.policyname, p.roles::text, p.cmd) = ('operator_reads', '{tenantry_operator}', 'SELECT'))
   and (p.policyname, p.roles[1], array_length(p.roles, 1), p.permissive, p.qual, coalesce(p.with_check, '')) is
       distinct from ('owner_erases', (select pg_get_userbyid(n.nspowner) from pg_namespace n
                                        where n.nspname = 'tenantry'), 1, 'PERMISSIVE',
                      '(tenant_id = ( SELECT tenantry.current_tenant() AS current_tenant))', 'false')

-- query: tenant_column
-- has no column `tenant_id text not null default tenantry.current_tenant() check (tenant_id <> '')`
select c.oid::regclass::text as object from pg_class c
 where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p')
   and not exists (
       select from pg_attribute a
         join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where a.attrelid = c.oid and a.attname = 'tenant_id' and a.atttypid = 'text'::regtype
          and a.attnotnull and a.attgenerated = ''
          and pg_get_expr(d.adbin, d.adrelid) = 'tenantry.current_tenant()'
          and exists (select from pg_constraint k
                       where k.conrelid = c.oid and k.contype = 'c' and k.convalidated
                         and pg_get_constraintdef(k.oid) = 'CHECK ((tenant_id <> ''''::text))'))

-- query: no_key
-- has no primary key
select c.oid::regclass::text as object from pg_class c
 where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p')
   and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)

-- query: shared_key
-- is a unique index or an exclusion that does not lead with tenant_id: who has an id could be found out
select i.indexrelid::regclass::text as object
  from pg_index i join pg_class c on c.oid = i.indrelid
  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
 where c.relnamespace = 'tenantry'::regnamespace
   and (i.indisunique or i.indisexclusion) and a.attname is distinct from 'tenant_id'

-- query: shared_index
-- is an index over several tenants' rows that does not lead with tenant_id: one could change another's results
select i.indexrelid::regclass::text as object
  from pg_index i join pg_class c on c.oid = i.indrelid
  left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
 where c.relnamespace = 'tenantry'::regnamespace and a.attname is distinct from 'tenant_id'
   and not coalesce(pg_get_expr(i.indpred, i.indrelid) ~ '^\(+tenant_id = ''[a-z0-9_-]+''::text\)'
                    and pg_get_expr(i.indpred, i.indrelid) !~ ' OR ', false)

-- query: shared_reference
-- is a foreign key that does not lead from tenant_id to tenant_id
select format('%I on %s', k.conname, k.conrelid::regclass) as object
  from pg_constraint k join pg_class c on c.oid = k.conrelid
  left join pg_attribute f on f.attrelid = k.conrelid and f.attnum = k.conkey[1]
  left join pg_attribute t on t.attrelid = k.confrelid and t.attnum = k.confkey[1]
 where k.contype = 'f' and c.relnamespace = 'tenantry'::regnamespace
   and (f.attname, t.attname) is distinct from ('tenant_id', 'tenant_id')

-- query: hidden_code
-- runs unseen whenever rows of its table are touched: a trigger, or a rewrite rule
select format('%I on %s', t.tgname, t.tgrelid::regclass) as object
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
 where c.relnamespace = 'tenantry'::regnamespace and not t.tgisinternal
union all
select format('%I on %s', r.rulename, r.ev_class::regclass)
  from pg_rewrite r join pg_class c on c.oid = r.ev_class
 where c.relnamespace in ('tenantry'::regnamespace, 'control'::regnamespace)

-- query: unknown_definer
-- runs with its owner's rights, and is none of the few that may
select p.oid::regprocedure::text as object from pg_proc p
 where p.pronamespace in ('tenantry'::regnamespace, 'control'::regnamespace) and p.prosecdef
   and p.oid::regprocedure::text not in (
       'control.announce()',
       'control.limit_tenant(text,jsonb)',
       'control.limit_user(text,text,jsonb)',
       'control.limits_of(text)',
       'control.list_issuers(text,integer)',
       'control.list_plans(text,integer)',
       'control.list_prices(text,integer)',
       'control.list_profiles()',
       'control.list_revocations(text)',
       'control.list_universal_assistants()',
       'control.lock_plan(text)',
       'control.put_issuer(text,text,jsonb,text,text[],boolean,jsonb)',
       'control.put_plan(jsonb,jsonb)',
       'control.put_price(text,bigint,bigint)',
       'control.put_profile(text,jsonb)',
       'control.put_universal_assistant(text,jsonb,integer)',
       'control.remove_issuer(text)',
       'control.remove_price(text)',
       'control.remove_universal_assistant(text)',
       'control.revoke(text,text,text,text)',
       'control.set_status(text,text)',
       'control.subscribe(text,text,integer)',
       'control.unsubscribe(text,text)',
       'tenantry.add_key(uuid,bytea,text,text,text[],timestamp with time zone)',
       'tenantry.applied_migrations()',
       'tenantry.authenticate_key(bytea)',
       'tenantry.claim_fetch(text,text,uuid,double precision)',
       'tenantry.claim_ingestion(text,text,uuid,double precision)',
       'tenantry.control_version()',
       'tenantry.corpus_records(text)',
       'tenantry.current_tenant()',
       'tenantry.end_ingestion(uuid)',
       'tenantry.enqueue_fetches(uuid[])',
       'tenantry.enqueue_ingestion(uuid)',
       'tenantry.find_key(uuid)',
       'tenantry.find_user_limits(text)',
       'tenantry.forget_narrowed(text)',
       'tenantry.ingestion_figures(text)',
       'tenantry.issuer_record(text,text)',
       'tenantry.limited_tenant_record(text)',
       'tenantry.list_keys(integer,timestamp with time zone,uuid)',
       'tenantry.narrow_user(text,jsonb)',
       'tenantry.note_key_uses(text,uuid[],double precision[])',
       'tenantry.page_of_keys(integer,timestamp with time zone,uuid)',
       'tenantry.page_of_user_limits(integer,text)',
       'tenantry.pages_to_fetch(text)',
       'tenantry.platform_profiles(text)',
       'tenantry.price_records(text)',
       'tenantry.put_ingestion_back(uuid,uuid,integer,double precision)',
       'tenantry.read_fetched(uuid,uuid)',
       'tenantry.renew_ingestion(uuid,uuid,double precision,boolean)',
       'tenantry.put_profile(jsonb)',
       'tenantry.revoke_key(uuid)',
       'tenantry.rotate_key(uuid,uuid,bytea,double precision)',
       'tenantry.subscribe(text,integer)',
       'tenantry.tenant_record(text)',
       'tenantry.unsubscribe(text)')

-- query: open_path
-- runs with its owner's rights, and finds what it calls by a search path that its caller can choose
select p.oid::regprocedure::text as object from pg_proc p
 where p.pronamespace in ('tenantry'::regnamespace, 'control'::regnamespace) and p.prosecdef
   and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)

-- query: altered_seal
-- is not the function that checks the seals of tenants, or not by its text
select p.oid::regprocedure::text as object from pg_proc p
 where p.pronamespace = 'tenantry'::regnamespace and p.proname = 'current_tenant'
   and (p.pronargs, p.prosecdef, p.provolatile, encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex')) is distinct from
       (0, true, 's', 'a220e7a3ac87cad104d350307efe465df026a7ce6a495d55eeabbb61820a9288')

-- query: function_grant
-- may be called by a role that has no need to
select format('%s by %s', p.oid::regprocedure, case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end)
       as object
  from pg_proc p
 cross join aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 where p.pronamespace in ('tenantry'::regnamespace, 'control'::regnamespace) and a.grantee <> p.proowner
   and not (not a.is_grantable and case a.grantee::regrole::text
            when 'tenantry_app' then p.pronamespace = 'tenantry'::regnamespace
            when 'tenantry_operator' then
                p.oid = 'tenantry.current_tenant()'::regprocedure
                or p.pronamespace = 'control'::regnamespace and p.proname <> 'announce'
            else false end)

-- query: table_grant
-- is granted beyond what its role needs
select format('%s %s to %s', a.privilege_type, c.oid::regclass,
              case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end) as object
  from pg_class c
 cross join aclexplode(c.relacl) a
 where c.relnamespace in ('tenantry'::regnamespace, 'control'::regnamespace) and a.grantee <> c.relowner
   and not (not a.is_grantable and c.relnamespace = 'tenantry'::regnamespace and case a.grantee::regrole::text
            when 'tenantry_app' then
                a.privilege_type in ('SELECT', 'INSERT')
                or a.privilege_type in ('UPDATE', 'DELETE') and c.relname not in ('usage_events', 'audit_events')
            when 'tenantry_operator' then
                a.privilege_type = 'SELECT' and c.relname in ('usage_events', 'audit_events')
            else false end)

-- query: column_grant
-- is granted beyond what its role needs: the operator reads who the tenants are, nobody else reads columns
select format('%s %s.%I to %s', a.privilege_type, c.oid::regclass, t.attname,
              case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end) as object
  from pg_attribute t join pg_class c on c.oid = t.attrelid
 cross join aclexplode(t.attacl) a
 where c.relnamespace in ('tenantry'::regnamespace, 'control'::regnamespace) and a.grantee <> c.relowner
   and not (not a.is_grantable and c.oid::regclass::text = 'control.tenants' and a.privilege_type = 'SELECT'
            and a.grantee::regrole::text = 'tenantry_operator'
            and t.attname in ('tenant_id', 'display_name', 'status', 'plan_id', 'cell_id', 'placement', 'created_at'))

-- query: schema_grant
-- is a schema on which a role may do more than use it
select format('%s %I to %s', a.privilege_type, n.nspname,
              case a.grantee when 0 then 'everybody' else a.grantee::regrole::text end) as object
  from pg_namespace n
 cross join aclexplode(n.nspacl) a
 where n.nspname in ('tenantry', 'control') and a.grantee <> n.nspowner
   and not (not a.is_grantable and a.privilege_type = 'USAGE'
            and (n.nspname, a.grantee::regrole::text) in (('tenantry', 'tenantry_app'),
                                                          ('tenantry', 'tenantry_operator'),
                                                          ('control', 'tenantry_operator')))

-- query: grant_elsewhere
-- lies outside, and is granted to a role of this product
select format('%s %s to %s', a.privilege_type, c.oid::regclass, a.grantee::regrole) as object
  from pg_class c
 cross join aclexplode(c.relacl) a
 where c.relnamespace not in ('tenantry'::regnamespace, 'control'::regnamespace)
   and a.grantee in (select oid from pg_roles where rolname in ('tenantry_app', 'tenantry_operator'))
union all
select format('creating in %I by tenantry_app', n.nspname) from pg_namespace n
 where has_schema_privilege('tenantry_app', n.oid, 'create')
   and n.nspname not in ('tenantry', 'control') and n.nspname !~ '^pg_(toast_)?temp'
