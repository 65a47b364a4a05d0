-- Limits as data: of plans beyond their first ones, of tenants and of their users; prices, and what usage cost.
set local lock_timeout = '5s';

-- Beside the plans and no column of theirs: a program of before selects all columns, and knows no more.
create table control.plan_limits (
    plan_id text primary key references control.plans on delete cascade,
    limits  jsonb not null check (jsonb_typeof(limits) = 'object')
);
insert into control.plan_limits select plan_id, '{"weight": 4}' from control.plans where plan_id = 'pro'; -- as shipped

alter table control.tenants
    add column limits jsonb not null default '{}' check (jsonb_typeof(limits) = 'object');

-- Kept apart: what the tenant's own admins say counts where it is narrower, and takes back nothing of an operator's.
create table control.user_limits (
    tenant_id  text not null references control.tenants,
    subject_id text not null check (subject_id <> ''),
    limits     jsonb not null default '{}' check (jsonb_typeof(limits) = 'object'),   -- by an operator
    narrowed   jsonb not null default '{}' check (jsonb_typeof(narrowed) = 'object'), -- by an admin of the tenant
    primary key (tenant_id, subject_id)
);

-- In nano-units of a minor unit for one token.
create table control.prices (
    model        text primary key check (length(model) between 1 and 128),
    input_nanos  bigint not null check (input_nanos between 0 and 1000000000000),
    output_nanos bigint not null check (output_nanos between 0 and 1000000000000),
    changed_at   timestamptz not null default now()
);

create trigger announce after insert or update or delete on control.plan_limits
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.user_limits
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.prices
    for each statement execute function control.announce();

-- Limits with what is said on top; an empty text removes.
create function control.merged(p_limits jsonb, p_said jsonb) returns jsonb
    language sql immutable set search_path = pg_catalog, pg_temp
begin atomic
    select coalesce(jsonb_object_agg(s.key, s.value), '{}') from jsonb_each(p_limits || p_said) s
     where s.value <> '""';
end;

-- `done`, `missing` without such a tenant, or `full`: so many users can be read with every tenant's record.
create function control.merge_user_limits(p_tenant text, p_subject text, p_said jsonb, p_narrowed jsonb) returns text
    language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    v_old      control.user_limits;
    v_limits   jsonb;
    v_narrowed jsonb;
begin
    perform from control.tenants t where t.tenant_id = p_tenant for no key update; -- one at a time counts
    if not found then
        return 'missing';
    end if;
    select * into v_old from control.user_limits u where u.tenant_id = p_tenant and u.subject_id = p_subject;
    v_limits := control.merged(coalesce(v_old.limits, '{}'), p_said);
    v_narrowed := control.merged(coalesce(v_old.narrowed, '{}'), p_narrowed);
    if v_limits = '{}' and v_narrowed = '{}' then
        if v_old.tenant_id is not null then
            delete from control.user_limits u where u.tenant_id = p_tenant and u.subject_id = p_subject;
        end if;
        return 'done';
    elsif v_old.tenant_id is null
          and (select count(*) >= 1000 from control.user_limits u where u.tenant_id = p_tenant) then
        return 'full';
    end if;
    insert into control.user_limits values (p_tenant, p_subject, v_limits, v_narrowed)
    on conflict (tenant_id, subject_id) do update set limits = excluded.limits, narrowed = excluded.narrowed;
    return 'done';
end $$;

-- For operators, by HTTP and at the terminal.
create function control.list_plans(p_after text, p_limit int) returns table (plan jsonb, limits jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select to_jsonb(p), coalesce(l.limits, '{}')
      from control.plans p left join control.plan_limits l using (plan_id)
     where p_after is null or p.plan_id > p_after order by p.plan_id limit p_limit;
end;

-- One plan, which nobody else changes until the end of the transaction. Locked first and read then: a join
-- that waits for a lock shows its other table as it was before.
create function control.lock_plan(p_plan text) returns table (plan jsonb, limits jsonb)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from control.plans p where p.plan_id = p_plan for update;
    return query
    select to_jsonb(p), coalesce(l.limits, '{}')
      from control.plans p left join control.plan_limits l using (plan_id) where p.plan_id = p_plan;
end $$;

create function control.put_plan(p_plan jsonb, p_limits jsonb) returns void
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.plans select r.* from jsonb_populate_record(null::control.plans, p_plan) r
    on conflict (plan_id) do update set requests_per_minute = excluded.requests_per_minute,
        burst = excluded.burst, concurrent_runs = excluded.concurrent_runs,
        tokens_per_minute = excluded.tokens_per_minute, tokens_per_day = excluded.tokens_per_day,
        tokens_per_month = excluded.tokens_per_month, max_output_tokens = excluded.max_output_tokens,
        documents = excluded.documents, models = excluded.models, tools = excluded.tools;
    insert into control.plan_limits (plan_id, limits) values (p_plan->>'plan_id', p_limits)
    on conflict (plan_id) do update set limits = excluded.limits;
end;

-- All that bounds a tenant. `users` has, for each, what operators and what the tenant's admins said.
create function control.limits_of(p_tenant text)
    returns table (tenant_id text, plan jsonb, plan_limits jsonb, limits jsonb, users jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select t.tenant_id, to_jsonb(p), coalesce(l.limits, '{}'), t.limits,
           (select jsonb_object_agg(u.subject_id, jsonb_build_array(u.limits, u.narrowed))
              from control.user_limits u where u.tenant_id = t.tenant_id)
      from control.tenants t join control.plans p using (plan_id) left join control.plan_limits l using (plan_id)
     where t.tenant_id = p_tenant;
end;

create function control.limit_tenant(p_tenant text, p_said jsonb) returns text
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    update control.tenants set limits = control.merged(limits, p_said) where tenant_id = p_tenant
    returning 'done';
end;

create function control.limit_user(p_tenant text, p_subject text, p_said jsonb) returns text
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    select control.merge_user_limits(p_tenant, p_subject, p_said, '{}');
end;

create function control.list_prices(p_after text, p_limit int)
    returns table (model text, input_nanos bigint, output_nanos bigint)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select p.model, p.input_nanos, p.output_nanos from control.prices p
     where p_after is null or p.model > p_after order by p.model limit p_limit;
end;

create function control.put_price(p_model text, p_input_nanos bigint, p_output_nanos bigint) returns void
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.prices (model, input_nanos, output_nanos) values (p_model, p_input_nanos, p_output_nanos)
    on conflict (model) do update set input_nanos = excluded.input_nanos, output_nanos = excluded.output_nanos,
        changed_at = now();
end;

create function control.remove_price(p_model text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from control.prices where model = p_model returning true;
end;

-- tenant_record, with all that bounds the tenant. Beside it and not in its place: for servers of before.
create function tenantry.limited_tenant_record(p_tenant text)
    returns table (tenant_id text, display_name text, status text, cell_id text, preferences jsonb, tools jsonb,
                   revocations jsonb, revoked_keys uuid[], plan jsonb, plan_limits jsonb, limits jsonb, users jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select r.tenant_id, r.display_name, r.status, r.cell_id, r.preferences, r.tools, r.revocations, r.revoked_keys,
           l.plan, l.plan_limits, l.limits, l.users
      from tenantry.tenant_record(p_tenant) r cross join lateral control.limits_of(r.tenant_id) l;
end;

-- Every price at once, for the platform alone: no row for anybody else, which is not the same as no price.
create function tenantry.price_records(p_platform text) returns table (prices jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select (select coalesce(jsonb_object_agg(p.model, jsonb_build_array(p.input_nanos, p.output_nanos)), '{}')
              from control.prices p)
     where p_platform = '*' and p_platform = (select tenantry.current_tenant());
end;

-- For the admins of a tenant, over its own users.
create function tenantry.page_of_user_limits(p_limit int, p_after text)
    returns table (subject_id text, limits jsonb, narrowed jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select u.subject_id, u.limits, u.narrowed from control.user_limits u
     where u.tenant_id = (select tenantry.current_tenant()) and (p_after is null or u.subject_id > p_after)
     order by u.subject_id limit p_limit;
end;

create function tenantry.find_user_limits(p_subject text) returns table (limits jsonb, narrowed jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select u.limits, u.narrowed from control.user_limits u
     where u.tenant_id = (select tenantry.current_tenant()) and u.subject_id = p_subject;
end;

create function tenantry.narrow_user(p_subject text, p_narrowed jsonb) returns text
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    select control.merge_user_limits(tenantry.current_tenant(), p_subject, '{}', p_narrowed);
end;

-- Takes back what was narrowed for a user, and leaves what an operator said.
create function tenantry.forget_narrowed(p_subject text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    with gone as (
        delete from control.user_limits u where u.tenant_id = (select tenantry.current_tenant())
           and u.subject_id = p_subject and u.limits = '{}' returning true
    ), kept as (
        update control.user_limits u set narrowed = '{}' where u.tenant_id = (select tenantry.current_tenant())
           and u.subject_id = p_subject and u.limits <> '{}' and u.narrowed <> '{}' returning true
    )
    select exists (table gone union all table kept);
end;

alter table tenantry.usage_events add column cost bigint not null default 0 check (cost >= 0);

-- As before, with the cost of usage: nothing where a server of before says none.
create or replace function tenantry.commit_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint,
                                     p_rows jsonb, p_blobs bytea[]) returns void
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_fence is not null then
        update tenantry.threads t
           set updated_at = now(),
               title = case when t.title = '' then coalesce(p_rows->>'title', '') else t.title end,
               lease_run_id = case when p_rows ? 'r' then null else t.lease_run_id end,
               lease_until = case when p_rows ? 'r' then null else t.lease_until end
         where t.tenant_id = p_tenant and t.thread_id = p_thread
           and t.fence = p_fence and t.lease_run_id = p_run;
        if not found then
            -- the same commit again, its first answer lost on the way
            perform 1 from tenantry.runs r where r.tenant_id = p_tenant and r.run_id = p_run
                and p_rows ? 'r' and r.status = p_rows->'r'->>'status';
            if found then return; end if;
            raise exception 'the run no longer holds its thread' using errcode = 'TN001';
        end if;
    end if;
    if p_rows ? 'b' then
        insert into tenantry.checkpoint_blobs
               (tenant_id, thread_id, checkpoint_ns, channel, version, type, blob)
        select p_tenant, r.t, r.ns, r.ch, r.v, r.ty, p_blobs[r.i]
          from jsonb_to_recordset(p_rows->'b') as r(t text, ns text, ch text, v text, ty text, i int)
        on conflict (tenant_id, thread_id, checkpoint_ns, channel, version) do nothing;
    end if;
    if p_rows ? 'w' then -- a task's own writes: the first stays; interrupts, errors, resumes (idx < 0): the last
        insert into tenantry.checkpoint_writes as w
               (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, blob)
        select p_tenant, r.t, r.ns, r.id, r.task, r.path, r.idx, r.ch, r.ty, p_blobs[r.i]
          from jsonb_to_recordset(p_rows->'w')
            as r(t text, ns text, id text, task text, path text, idx int, ch text, ty text, i int)
        on conflict (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
        do update set channel = excluded.channel, type = excluded.type, blob = excluded.blob
            where w.idx < 0;
    end if;
    if p_rows ? 'c' then
        insert into tenantry.checkpoints
               (tenant_id, thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
        select p_tenant, r.t, r.ns, r.id, r.parent, r.cp, r.meta
          from jsonb_to_recordset(p_rows->'c')
            as r(t text, ns text, id text, parent text, cp jsonb, meta jsonb)
        on conflict (tenant_id, thread_id, checkpoint_ns, checkpoint_id)
        do update set checkpoint = excluded.checkpoint, metadata = excluded.metadata;
    end if;
    if p_rows ? 'u' then
        insert into tenantry.usage_events
               (tenant_id, event_id, meter, quantity, model, run_id, subject_id, created_at, cost)
        select p_tenant, r.event_id, r.meter, r.quantity, r.model, r.run_id, r.subject_id, r.created_at,
               coalesce(r.cost, 0)
          from jsonb_to_recordset(p_rows->'u')
            as r(event_id uuid, meter text, quantity bigint, model text, run_id uuid,
                 subject_id text, created_at timestamptz, cost bigint)
        on conflict (tenant_id, event_id) do nothing;
    end if;
    if p_rows ? 'a' then
        insert into tenantry.audit_events
               (tenant_id, event_id, actor, subject_id, action, resource, outcome, run_id, thread_id,
                attributes, created_at)
        select p_tenant, r.event_id, r.actor, r.subject_id, r.action, r.resource, r.outcome, r.run_id,
               r.thread_id, r.attributes, r.created_at
          from jsonb_to_recordset(p_rows->'a')
            as r(event_id uuid, actor text, subject_id text, action text, resource text, outcome text,
                 run_id uuid, thread_id uuid, attributes jsonb, created_at timestamptz)
        on conflict (tenant_id, event_id) do nothing;
    end if;
    if p_rows ? 'r' then
        update tenantry.runs
           set status = p_rows->'r'->>'status', result = p_rows->'r'->'result', finished_at = now(),
               input_tokens = (p_rows->'r'->>'input_tokens')::bigint,
               output_tokens = (p_rows->'r'->>'output_tokens')::bigint
         where tenant_id = p_tenant and run_id = p_run;
    end if;
end $$;

revoke execute on all functions in schema control from public;
revoke execute on function tenantry.limited_tenant_record(text), tenantry.price_records(text),
                           tenantry.page_of_user_limits(int, text), tenantry.find_user_limits(text),
                           tenantry.narrow_user(text, jsonb), tenantry.forget_narrowed(text) from public;
grant execute on function tenantry.limited_tenant_record(text), tenantry.price_records(text),
                          tenantry.page_of_user_limits(int, text), tenantry.find_user_limits(text),
                          tenantry.narrow_user(text, jsonb), tenantry.forget_narrowed(text) to tenantry_app;
grant execute on function control.list_plans(text, int), control.lock_plan(text), control.put_plan(jsonb, jsonb),
    control.limits_of(text), control.limit_tenant(text, jsonb), control.limit_user(text, text, jsonb),
    control.list_prices(text, int), control.put_price(text, bigint, bigint), control.remove_price(text)
    to tenantry_operator;
