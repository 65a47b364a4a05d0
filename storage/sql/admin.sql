-- Statements of the owner role: what operators do from a terminal.

-- query: seed_plan
-- Stores a plan unless there is one of that name.
select control.put_plan(%(plan)s::jsonb, %(limits)s::jsonb)
 where not exists (select from control.plans where plan_id = %(plan_id)s)

-- query: put_plan
-- Stores a plan, new or changed.
select control.put_plan(%(plan)s::jsonb, %(limits)s::jsonb)

-- query: get_plan
-- One plan.
select to_jsonb(p) as plan, coalesce(l.limits, '{}') as limits
  from control.plans p left join control.plan_limits l using (plan_id) where p.plan_id = %(plan_id)s

-- query: lock_plan
-- One plan, which nobody else changes until the end of the transaction.
select * from control.lock_plan(%(plan_id)s)

-- query: list_plans
-- All plans.
select * from control.list_plans(null, null)

-- query: create_tenant
-- Makes a tenant; nothing when the id is taken.
insert into control.tenants (tenant_id, display_name, plan_id)
values (%(tenant_id)s, %(display_name)s, %(plan_id)s)
on conflict (tenant_id) do nothing returning tenant_id

-- query: get_tenant
-- One tenant.
select tenant_id, display_name, status, plan_id as plan, placement, cell_id as cell, preferences, limits,
       created_at
  from control.tenants where tenant_id = %(tenant_id)s

-- query: list_tenants
-- All tenants.
select tenant_id, display_name, status, plan_id as plan, placement, cell_id as cell, preferences, limits,
       created_at
  from control.tenants order by tenant_id

-- query: forget_keys
-- Deletes a tenant's API keys.
delete from control.api_keys where tenant_id = %(tenant_id)s

-- query: forget_tools
-- Deletes what a tenant decided about tools.
delete from control.tool_settings where tenant_id = %(tenant_id)s

-- query: forget_user_limits
-- Deletes the limits of a tenant's users.
delete from control.user_limits where tenant_id = %(tenant_id)s

-- query: forget_revocations
-- Deletes what was revoked of a tenant.
delete from control.revocations where tenant_id = %(tenant_id)s

-- query: forget_jobs
-- Deletes what is queued of a tenant.
with jobs as (delete from jobs.ingestions where tenant_id = %(tenant_id)s)
delete from jobs.lines where tenant_id = %(tenant_id)s

-- query: forget_tenant
-- Deletes a tenant's record.
delete from control.tenants where tenant_id = %(tenant_id)s

-- query: forget_plan
-- Deletes a plan that no tenant is on.
delete from control.plans where plan_id = %(plan_id)s

-- query: tenant_tables
-- The tables that hold rows of tenants, children before parents.
select c.relname as name from pg_class c
 where c.relnamespace = 'tenantry'::regnamespace and c.relkind in ('r', 'p')
 order by (select count(*) from pg_constraint k where k.confrelid = c.oid and k.contype = 'f'), 1

-- query: set_status
-- Suspends or resumes a tenant.
update control.tenants set status = %(status)s where tenant_id = %(tenant_id)s

-- query: set_plan
-- Puts a tenant on another plan.
update control.tenants set plan_id = %(plan_id)s where tenant_id = %(tenant_id)s

-- query: set_display_name
-- Renames a tenant as its users see it.
update control.tenants set display_name = %(display_name)s where tenant_id = %(tenant_id)s

-- query: put_tenant_profile
-- Replaces what a tenant says of all its assistants.
update control.tenants set preferences = %(says)s::jsonb where tenant_id = %(tenant_id)s

-- query: set_preferences
-- Merges preferences into a tenant's; an empty one is removed.
update control.tenants
   set preferences = (select coalesce(jsonb_object_agg(key, value), '{}')
                        from jsonb_each(preferences || %(preferences)s::jsonb) where value <> '""')
 where tenant_id = %(tenant_id)s

-- query: limits_of
-- All that bounds a tenant.
select * from control.limits_of(%(tenant_id)s)

-- query: limit_tenant
-- Merges limits into a tenant's own; an empty one is removed.
select control.limit_tenant(%(tenant_id)s, %(said)s::jsonb) as outcome

-- query: limit_user
-- Merges limits into those of a tenant's user; an empty one is removed.
select control.limit_user(%(tenant_id)s, %(subject_id)s, %(said)s::jsonb) as outcome

-- query: list_prices
-- All prices.
select * from control.list_prices(null, null)

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

-- query: create_corpus
-- Makes a tenant's documents a corpus.
insert into control.corpora (corpus_id, title) values (%(corpus_id)s, %(title)s)

-- query: list_corpora
-- All corpora, and how many tenants subscribe to each.
select c.corpus_id, c.title, c.created_at,
       (select count(*) from control.subscriptions s where s.corpus_id = c.corpus_id) as tenants
  from control.corpora c order by c.corpus_id

-- query: admin_subscribe
-- Subscribes a tenant to a corpus.
select control.subscribe(%(tenant_id)s, %(corpus_id)s, %(most)s) as outcome

-- query: admin_unsubscribe
-- Ends a tenant's subscription to a corpus; null when there is none.
select control.unsubscribe(%(tenant_id)s, %(corpus_id)s) as done

-- query: put_issuer
-- Registers an issuer, new or changed.
insert into control.issuers (url, audience, jwks, jwks_url, tenants, platform, rules)
values (%(url)s, %(audience)s, %(jwks)s::jsonb, %(jwks_url)s, %(tenants)s, %(platform)s, %(rules)s::jsonb)
on conflict (url) do update set audience = excluded.audience, jwks = excluded.jwks,
    jwks_url = excluded.jwks_url, tenants = excluded.tenants, platform = excluded.platform,
    rules = excluded.rules

-- query: list_issuers
-- All issuers.
select url, audience, jwks, jwks_url, tenants, platform, rules, created_at from control.issuers order by url

-- query: remove_issuer
-- Removes an issuer: its tokens are refused from now on.
delete from control.issuers where url = %(url)s

-- query: put_tool
-- Says whether a tool is enabled for a tenant.
insert into control.tool_settings (tenant_id, tool, enabled) values (%(tenant_id)s, %(tool)s, %(enabled)s)
on conflict (tenant_id, tool) do update set enabled = excluded.enabled

-- query: configure_tool
-- Merges settings into a tool's for a tenant; an empty one is removed.
insert into control.tool_settings as s (tenant_id, tool, configuration)
values (%(tenant_id)s, %(tool)s, (select coalesce(jsonb_object_agg(key, value), '{}')
                                    from jsonb_each(%(configuration)s::jsonb) where value <> '""'))
on conflict (tenant_id, tool) do update
   set configuration = (select coalesce(jsonb_object_agg(key, value), '{}')
                          from jsonb_each(s.configuration || %(configuration)s::jsonb) where value <> '""')

-- query: revoke
-- Revokes a token, or every credential of a subject or a tenant until now.
insert into control.revocations (tenant_id, subject_id, issuer, token_id)
values (%(tenant_id)s, %(subject_id)s, %(issuer)s, %(token_id)s)
on conflict (tenant_id, subject_id, issuer, token_id) do update set revoked_at = now()

-- query: list_revocations
-- What was revoked, of a tenant or of all.
select tenant_id, subject_id as subject, issuer, token_id, revoked_at
  from control.revocations where %(tenant_id)s::text is null or tenant_id = %(tenant_id)s
 order by revoked_at, tenant_id, subject_id, issuer, token_id

-- query: add_key
-- Stores an API key's digest.
insert into control.api_keys (key_id, tenant_id, digest, subject_id, role, scopes, expires_at)
values (%(key_id)s, %(tenant_id)s, %(digest)s, %(subject_id)s, %(role)s, %(scopes)s, %(expires_at)s)

-- query: list_keys
-- The API keys of a tenant, or of all.
select key_id, tenant_id, subject_id as subject, role, scopes, created_at, expires_at, revoked_at, replaced_by,
       last_used_at
  from control.api_keys left join control.key_uses using (key_id)
 where %(tenant_id)s::text is null or tenant_id = %(tenant_id)s
 order by created_at, key_id

-- query: tenant_of_key
-- Whose API key it is.
select tenant_id from control.api_keys where key_id = %(key_id)s

-- query: revoke_key
-- Revokes an API key.
update control.api_keys set revoked_at = coalesce(revoked_at, now()) where key_id = %(key_id)s

-- query: list_seal_keys
-- The keys that tenants are sealed with, by name.
select key_id, created_at from control.seal_keys order by created_at, key_id

-- query: add_seal_key
-- Believes seals of this key from now on.
insert into control.seal_keys (key_id, inner_pad, outer_pad)
values (%(key_id)s, %(inner_pad)s, %(outer_pad)s) on conflict (key_id) do nothing

-- query: remove_seal_key
-- Believes them no longer.
delete from control.seal_keys where key_id = %(key_id)s

-- query: list_wishes
-- Which tenants an operator wants promoted, or not, whatever their size.
select tenant_id, promoted from control.tenants where promoted is not null

-- query: wish_promoted
-- Says whether a tenant is promoted; null leaves it to its size.
update control.tenants set promoted = %(promoted)s where tenant_id = %(tenant_id)s
