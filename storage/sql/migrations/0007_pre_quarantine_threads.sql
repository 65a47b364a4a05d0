-- A run in which something of another tenant turned up leaves nothing behind but its record, and its
-- thread takes no further run until an operator has released it.
set local lock_timeout = '5s';

alter table tenantry.threads add column quarantined_by uuid; -- the run that was stopped

-- get_checkpoint, and `tenant_ids`: whose rows the checkpoint was put together from. Beside it and not in
-- its place: a server of before has prepared plans, which break when a result gets another column.
create function tenantry.load_checkpoint(p_tenant text, p_thread text, p_ns text, p_id text)
    returns table (thread_id text, checkpoint_ns text, checkpoint_id text, parent_checkpoint_id text,
                   checkpoint jsonb, metadata jsonb, channel_values bytea[], pending_writes bytea[],
                   tenant_ids text[])
    language plpgsql as $$
#variable_conflict use_column
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata,
           stored.pieces, pending.pieces, array[c.tenant_id] || stored.owners || pending.owners
      from tenantry.checkpoints c
     cross join lateral (
           select array_agg(array[b.channel::bytea, b.type::bytea, b.blob]) as pieces,
                  array_agg(distinct b.tenant_id) as owners
             from jsonb_each_text(c.checkpoint->'channel_versions') v
             join tenantry.checkpoint_blobs b
               on b.tenant_id = p_tenant and b.thread_id = p_thread and b.checkpoint_ns = p_ns
              and b.channel = v.key and b.version = v.value) stored
     cross join lateral (
           select array_agg(array[w.task_id::bytea, w.channel::bytea, w.type::bytea, w.blob,
                                  convert_to(w.task_path, 'UTF8'), w.idx::text::bytea]) as pieces,
                  array_agg(distinct w.tenant_id) as owners
             from tenantry.checkpoint_writes w
            where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = p_ns
              and w.checkpoint_id = c.checkpoint_id) pending
     where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = p_ns
       and c.checkpoint_id = coalesce(p_id, (select max(m.checkpoint_id) from tenantry.checkpoints m
             where m.tenant_id = p_tenant and m.thread_id = p_thread and m.checkpoint_ns = p_ns));
end $$;

-- As before, and the outcome quarantined.
create or replace function tenantry.open_run(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean,
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
    elsif v_thread.quarantined_by is not null then
        return query select 'quarantined', null::bigint, null::jsonb; return;
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

-- Ends a run that met something foreign. Without a fence: whoever holds the thread by now loses it.
-- What the run left in the thread goes, whatever it committed on its way; of the checkpoint before it
-- only what it waits for stays. Usage and audit stay: they were real.
create function tenantry.quarantine_run(p_tenant text, p_run uuid, p_thread uuid, p_title text,
                                        p_rows jsonb) returns void
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    update tenantry.threads t
       set quarantined_by = coalesce(t.quarantined_by, p_run), fence = t.fence + 1, lease_run_id = null,
           lease_until = null, updated_at = now(),
           title = case when t.title = p_title then '' else t.title end
     where t.tenant_id = p_tenant and t.thread_id = p_thread;
    delete from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread::text
       and c.metadata->>'run_id' = p_run::text;
    delete from tenantry.checkpoint_writes w
     where w.tenant_id = p_tenant and w.thread_id = p_thread::text
       and not (w.channel = '__interrupt__' and exists (
               select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = w.thread_id
                  and c.checkpoint_ns = w.checkpoint_ns and c.checkpoint_id = w.checkpoint_id));
    delete from tenantry.checkpoint_blobs b
     where b.tenant_id = p_tenant and b.thread_id = p_thread::text
       and not exists (
               select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = b.thread_id
                  and c.checkpoint_ns = b.checkpoint_ns
                  and c.checkpoint->'channel_versions'->>b.channel = b.version);
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, null, p_rows, null);
end $$;

revoke execute on function tenantry.load_checkpoint(text, text, text, text),
                           tenantry.quarantine_run(text, uuid, uuid, text, jsonb) from public;
grant execute on function tenantry.load_checkpoint(text, text, text, text),
                          tenantry.quarantine_run(text, uuid, uuid, text, jsonb) to tenantry_app;
