-- What the control tables show of tenants: limits, prices, issuers, corpora.

-- query: list_user_limits
-- The tenant's users with limits of their own, from one on.
select * from tenantry.page_of_user_limits(%(limit)s, %(after)s)

-- query: find_user_limits
-- What was said of one user of the tenant.
select * from tenantry.find_user_limits(%(subject_id)s)

-- query: narrow_user
-- Narrows the limits of a user of the tenant.
select tenantry.narrow_user(%(subject_id)s, %(said)s::jsonb) as outcome

-- query: forget_narrowed
-- Takes back what was narrowed for a user of the tenant.
select tenantry.forget_narrowed(%(subject_id)s) as done

-- query: corpus_records
-- The shared corpora, and whether the tenant subscribes to each.
select * from tenantry.corpus_records(tenantry.enter(%(tenant_id)s, %(seal)s))

-- query: subscribe
-- Subscribes the tenant to a corpus.
select tenantry.subscribe(%(corpus_id)s, %(most)s) as outcome

-- query: unsubscribe
-- Ends the tenant's subscription to a corpus; null when there is none.
select tenantry.unsubscribe(%(corpus_id)s) as done

-- query: control_version
-- Grows with every change of the control tables.
select tenantry.control_version() as version

-- query: tenant_record
-- A tenant with its plan, limits, preferences and tool settings.
select * from tenantry.limited_tenant_record(tenantry.enter(%(tenant_id)s, %(seal)s))

-- query: price_records
-- The prices of all models.
select * from tenantry.price_records(tenantry.enter(%(tenant_id)s, %(seal)s))

-- query: issuer_record
-- A registered token issuer.
select * from tenantry.issuer_record(tenantry.enter(%(tenant_id)s, %(seal)s), %(url)s)
