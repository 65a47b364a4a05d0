-- One round trip each. The first statement sets the tenant; plpgsql runs statements in order, where
-- a common table expression would leave the order to the planner. Invoker rights: policies bind the caller.
set local lock_timeout = '5s';

-- What a turn leaves behind: checkpoints (b, w, c), usage (u), audit (a), and how the run ended (r).
-- With a fence, nothing is written unless the run still holds the thread.
create function tenantry.commit_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint,
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
               (tenant_id, event_id, meter, quantity, model, run_id, subject_id, created_at)
        select p_tenant, r.event_id, r.meter, r.quantity, r.model, r.run_id, r.subject_id, r.created_at
          from jsonb_to_recordset(p_rows->'u')
            as r(event_id uuid, meter text, quantity bigint, model text, run_id uuid,
                 subject_id text, created_at timestamptz)
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

create function tenantry.get_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text)
    returns table (thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text,
                   checkpoint jsonb, metadata jsonb, channel_values bytea[], pending_writes bytea[])
    language plpgsql as $$
#variable_conflict use_column
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata,
           (select array_agg(array[b.channel::bytea, b.type::bytea, b.blob])
              from jsonb_each_text(c.checkpoint->'channel_versions') v
              join tenantry.checkpoint_blobs b
                on b.tenant_id = p_tenant and b.thread_id = p_thread and b.checkpoint_ns = p_ns
               and b.channel = v.key and b.version = v.value),
           (select array_agg(array[w.task_id::bytea, w.channel::bytea, w.type::bytea, w.blob,
                                   convert_to(w.task_path, 'UTF8'), w.idx::text::bytea])
              from tenantry.checkpoint_writes w
             where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = p_ns
               and w.checkpoint_id = c.checkpoint_id)
      from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = p_ns
       and c.checkpoint_id = coalesce(p_id, (select max(m.checkpoint_id) from tenantry.checkpoints m
             where m.tenant_id = p_tenant and m.thread_id = p_thread and m.checkpoint_ns = p_ns));
end $$;

-- Finds or makes the thread and takes its lease. `outcome` is opened, missing, busy, taken, or, for a
-- request seen before under its idempotency key, replay (with the result), in_progress or mismatch.
create function tenantry.open_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean,
                                  p_subject text, p_sees_all boolean, p_lease_seconds float8,
                                  p_key text, p_digest bytea)
    returns table (outcome text, fence bigint, result jsonb)
    language plpgsql as $$
declare
    v_run    tenantry.runs;
    v_thread tenantry.threads;
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_key is not null then
        perform pg_advisory_xact_lock(hashtextextended(p_tenant || '/' || p_subject || '/' || p_key, 7));
        select * into v_run from tenantry.runs r
         where r.tenant_id = p_tenant and r.subject_id = p_subject and r.idempotency_key = p_key;
        if found and v_run.run_id <> p_run then
            if v_run.request_digest <> p_digest then
                return query select 'mismatch', null::bigint, null::jsonb; return;
            elsif v_run.status in ('success', 'interrupted') then
                return query select 'replay', null::bigint, v_run.result; return;
            end if;
            perform 1 from tenantry.threads t
              where t.tenant_id = p_tenant and t.thread_id = v_run.thread_id
                and t.lease_run_id = v_run.run_id and t.lease_until > now();
            if found then
                return query select 'in_progress', null::bigint, null::jsonb; return;
            end if;
            update tenantry.runs set idempotency_key = null
             where tenant_id = p_tenant and run_id = v_run.run_id;
        end if;
    end if;
    if p_new_thread then
        insert into tenantry.threads (tenant_id, thread_id, subject_id)
        values (p_tenant, p_thread, p_subject) on conflict (tenant_id, thread_id) do nothing;
    end if;
    select * into v_thread from tenantry.threads t
     where t.tenant_id = p_tenant and t.thread_id = p_thread
       and (p_sees_all or t.subject_id = p_subject) for update;
    if not found then
        return query select 'missing', null::bigint, null::jsonb; return;
    elsif v_thread.lease_run_id = p_run then -- the same opening again, its first answer lost on the way
        return query select 'opened', v_thread.fence, null::jsonb; return;
    elsif v_thread.lease_until > now() then
        return query select 'busy', null::bigint, null::jsonb; return;
    end if;
    update tenantry.runs set status = 'error', finished_at = now()
     where tenant_id = p_tenant and run_id = v_thread.lease_run_id and status = 'running';
    update tenantry.threads t
       set lease_run_id = p_run, fence = t.fence + 1,
           lease_until = now() + make_interval(secs => p_lease_seconds)
     where t.tenant_id = p_tenant and t.thread_id = p_thread;
    insert into tenantry.runs (tenant_id, run_id, thread_id, subject_id, idempotency_key, request_digest)
    values (p_tenant, p_run, p_thread, p_subject, p_key, p_digest);
    return query select 'opened', v_thread.fence + 1, null::jsonb;
end $$;

create function tenantry.renew_lease(p_tenant text, p_run uuid, p_thread uuid, p_fence bigint,
                                     p_lease_seconds float8) returns boolean
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    update tenantry.threads set lease_until = now() + make_interval(secs => p_lease_seconds)
     where tenant_id = p_tenant and thread_id = p_thread and lease_run_id = p_run and fence = p_fence;
    return found;
end $$;

-- Undoes an opened run that was refused: no run, and no thread that it made, only the audit record.
create function tenantry.discard_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean,
                                     p_rows jsonb) returns void
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    delete from tenantry.runs where tenant_id = p_tenant and run_id = p_run;
    if p_new_thread then
        delete from tenantry.threads t
         where t.tenant_id = p_tenant and t.thread_id = p_thread and t.lease_run_id = p_run;
    else
        update tenantry.threads set lease_run_id = null, lease_until = null
         where tenant_id = p_tenant and thread_id = p_thread and lease_run_id = p_run;
    end if;
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, null, p_rows, null);
end $$;

-- Vector order and OR-ed full text, fused by reciprocal rank (Cormack et al., 2009, k = 60).
-- The tenant, model and dimension stand in the text of the vector part: only so can a tenant's own
-- partial index be used. Everything is quoted by format().
create function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text,
                                         p_limit int)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8)
    language plpgsql set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    v_vector  public.vector := p_vector::public.vector;
    v_words   tsquery := replace(plainto_tsquery('english', p_query)::text, '&', '|')::tsquery;
    v_nearest uuid[];
begin
    perform set_config('app.tenant_id', p_tenant, true);
    execute format('select array(select p.passage_id from tenantry.passages p
                                  where p.tenant_id = %L and p.embedding_model = %L
                                  order by p.embedding::public.vector(%s) operator(public.<=>) $1 limit 50)',
                   p_tenant, p_model, public.vector_dims(v_vector))
       into v_nearest using v_vector;
    return query
    with by_meaning as (
        select n.passage_id, n.place from unnest(v_nearest) with ordinality as n(passage_id, place)
    ), by_word as (
        select p.passage_id, row_number() over (order by ts_rank(p.lexemes, v_words, 1) desc, p.passage_id) as place
          from tenantry.passages p
         where p.tenant_id = p_tenant and p.lexemes @@ v_words
         order by ts_rank(p.lexemes, v_words, 1) desc, p.passage_id limit 50
    ), fused as (
        select passage_id, sum(1.0 / (60 + place))::float8 as score
          from (select * from by_meaning union all select * from by_word) hits
         group by passage_id order by score desc, passage_id limit p_limit
    )
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $$;

revoke execute on all functions in schema tenantry from public;
grant execute on all functions in schema tenantry to tenantry_app;
