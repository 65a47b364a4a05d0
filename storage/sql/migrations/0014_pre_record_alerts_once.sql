-- What several replicas notice at once is told by one of them: by the one whose record came first.
set local lock_timeout = '5s';

-- Inserts one audit event unless its id is taken, and says whether the record that is there is this one: asked
-- again with the same event it answers the same. Writers differ in the event's attributes.
create function tenantry.record_first(p_tenant text, p_event jsonb) returns boolean
    language plpgsql as $$
begin
    insert into tenantry.audit_events
           (tenant_id, event_id, actor, subject_id, action, resource, outcome, attributes, created_at)
    select p_tenant, r.event_id, r.actor, r.subject_id, r.action, r.resource, r.outcome, r.attributes, r.created_at
      from jsonb_to_record(p_event)
        as r(event_id uuid, actor text, subject_id text, action text, resource text, outcome text,
             attributes jsonb, created_at timestamptz)
    on conflict (tenant_id, event_id) do nothing;
    return exists (select from tenantry.audit_events e
                    where e.tenant_id = p_tenant and e.event_id = (p_event->>'event_id')::uuid
                      and e.attributes = p_event->'attributes');
end $$;

revoke execute on function tenantry.record_first(text, jsonb) from public;
grant execute on function tenantry.record_first(text, jsonb) to tenantry_app;
