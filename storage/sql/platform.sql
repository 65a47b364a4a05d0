-- Statements of the operator role: what operators do over HTTP. Named and described like queries.sql.

-- query: list_tenants
-- Tenants by id, from one on.
select tenant_id, display_name, status, plan_id as plan, placement, cell_id as cell, created_at
  from control.tenants where %(after)s::text is null or tenant_id > %(after)s order by tenant_id limit %(limit)s

-- query: get_tenant
-- One tenant.
select tenant_id, display_name, status, plan_id as plan, placement, cell_id as cell, created_at
  from control.tenants where tenant_id = %(tenant_id)s

-- query: set_status
-- Suspends or resumes a tenant; null when there is none.
select control.set_status(%(tenant_id)s, %(status)s) as done

-- query: list_issuers
-- Registered issuers by URL, from one on.
select * from control.list_issuers(%(after)s, %(limit)s)

-- query: put_issuer
-- Registers an issuer, new or changed.
select control.put_issuer(%(url)s, %(audience)s, %(jwks)s::jsonb, %(jwks_url)s, %(tenants)s, %(platform)s,
    %(rules)s::jsonb)

-- query: remove_issuer
-- Removes an issuer; null when there is none.
select control.remove_issuer(%(url)s) as done

-- query: list_revocations
-- What was revoked of a tenant.
select * from control.list_revocations(%(tenant_id)s)

-- query: revoke
-- Revokes a token, or every credential of a subject or a tenant until now; null without such a tenant.
select control.revoke(%(tenant_id)s, %(subject_id)s, %(issuer)s, %(token_id)s) as revoked_at
