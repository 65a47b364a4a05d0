-- Statements of the operator role: what operators do over HTTP.

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

-- query: limits_of
-- All that bounds a tenant.
select * from control.limits_of(%(tenant_id)s)

-- query: limit_tenant
-- Merges limits into a tenant's own; null when there is none.
select control.limit_tenant(%(tenant_id)s, %(said)s::jsonb) as outcome

-- query: limit_user
-- Merges limits into those of a tenant's user.
select control.limit_user(%(tenant_id)s, %(subject_id)s, %(said)s::jsonb) as outcome

-- query: list_plans
-- Plans by name, from one on.
select * from control.list_plans(%(after)s, %(limit)s)

-- query: lock_plan
-- One plan, which nobody else changes until the end of the transaction.
select * from control.lock_plan(%(plan_id)s)

-- query: put_plan
-- Stores a plan, new or changed.
select control.put_plan(%(plan)s::jsonb, %(limits)s::jsonb)

-- query: list_prices
-- Prices by model, from one on.
select * from control.list_prices(%(after)s, %(limit)s)

-- query: put_price
-- Says what a model costs.
select control.put_price(%(model)s, %(input_nanos)s, %(output_nanos)s)

-- query: remove_price
-- Removes a price; null when there is none.
select control.remove_price(%(model)s) as done

-- query: list_profiles
-- What the deployment says of all assistants: by plan, and of every tenant under the empty name.
select * from control.list_profiles()

-- query: put_profile
-- Replaces what is said of a plan's assistants; null where there is no such plan.
select control.put_profile(%(name)s, %(says)s::jsonb) as done

-- query: list_universal_assistants
-- The assistants that every tenant sees, by slug.
select * from control.list_universal_assistants()

-- query: put_universal_assistant
-- Stores one, and says its version; null where there are too many.
select control.put_universal_assistant(%(slug)s, %(content)s::jsonb, %(most)s) as version

-- query: remove_universal_assistant
-- Removes one; null when there is none.
select control.remove_universal_assistant(%(slug)s) as done

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

-- query: list_noisiest
-- What each tenant did since a time, most of one thing first; those that did nothing are left out.
select tenant_id, plan, runs, tokens, tool_calls, refused, failed,
       coalesce(round(tokens / nullif(sum(tokens) over (), 0), 4), 0)::float8 as share
  from (select t.tenant_id, t.plan_id as plan, u.events, u.runs, u.tokens, u.tool_calls, a.refused, a.failed
          from control.tenants t
         cross join lateral (
               select count(*) as events,
                      coalesce(sum(e.quantity) filter (where e.meter = 'runs'), 0)::bigint as runs,
                      coalesce(sum(e.quantity) filter (where e.meter in ('input_tokens', 'output_tokens')), 0)::bigint
                          as tokens,
                      coalesce(sum(e.quantity) filter (where e.meter = 'tool_calls'), 0)::bigint as tool_calls
                 from tenantry.usage_events e
                where e.tenant_id = t.tenant_id and e.created_at >= %(since)s) u
         cross join lateral (
               select count(*) filter (where e.action = 'run.start' and e.outcome = 'refused') as refused,
                      count(*) filter (where e.action in ('run.start', 'run.finish') and e.outcome = 'failed') as failed
                 from tenantry.audit_events e
                where e.tenant_id = t.tenant_id and e.created_at >= %(since)s) a) seen
 where events + refused + failed > 0
 order by case %(by)s::text when 'tokens' then tokens when 'runs' then runs when 'tool_calls' then tool_calls
                            when 'refused' then refused when 'failed' then failed end desc,
          tokens desc, refused desc, tenant_id
 limit %(limit)s
