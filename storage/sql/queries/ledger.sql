-- Usage and audit events.

-- query: sum_usage
-- Usage and its cost per meter and model in a time span.
select meter, model, sum(quantity)::bigint as quantity, sum(cost)::bigint as cost from tenantry.usage_events
 where tenant_id = %(tenant_id)s and created_at >= %(from)s and created_at < %(to)s
 group by meter, model order by meter, model

-- query: list_audit
-- Audit events, latest first, from a cursor on.
select event_id, actor, subject_id, action, resource, outcome, run_id, thread_id, attributes, created_at
  from tenantry.audit_events
 where tenant_id = %(tenant_id)s
   and (%(after_id)s::uuid is null or (created_at, event_id) < (%(after_time)s, %(after_id)s::uuid))
 order by created_at desc, event_id desc limit %(limit)s

-- query: record_events
-- Inserts usage and audit events outside a turn.
select tenantry.commit_turn(%(tenant_id)s, null, null, null, %(rows)s::jsonb, null)

-- call: record
-- Inserts usage and audit events in a round trip of their own.
select tenantry.commit_turn(tenantry.enter(%(tenant_id)s, %(seal)s), null, null, null, %(rows)s::jsonb, null)

-- query: booked_usage
-- Tokens and cost of each user in the current minute, day and month, without those of some runs.
select subject_id,
       coalesce(sum(quantity) filter (where created_at >= %(minute)s), 0)::bigint as minute_tokens,
       coalesce(sum(quantity) filter (where created_at >= %(day)s), 0)::bigint as day_tokens,
       coalesce(sum(quantity), 0)::bigint as month_tokens,
       coalesce(sum(cost) filter (where created_at >= %(minute)s), 0)::bigint as minute_micros,
       coalesce(sum(cost) filter (where created_at >= %(day)s), 0)::bigint as day_micros,
       coalesce(sum(cost), 0)::bigint as month_micros
  from tenantry.usage_events
 where tenant_id = %(tenant_id)s and created_at >= %(month)s and meter in ('input_tokens', 'output_tokens')
   and (%(subject_id)s::text is null or subject_id = %(subject_id)s)
   and (run_id is null or run_id <> all(%(without)s::uuid[]))
 group by subject_id

-- call: record_first
-- Inserts an audit event unless another process did; says whether this one is there.
select tenantry.record_first(tenantry.enter(%(tenant_id)s, %(seal)s), %(event)s::jsonb) as first
