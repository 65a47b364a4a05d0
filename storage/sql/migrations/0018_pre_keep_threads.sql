-- Threads are found by their words, shared inside their tenant, and keep the checkpoints they need.
set local lock_timeout = '5s';

alter table tenantry.threads
    add column shared boolean not null default false,   -- readable by everyone of the tenant
    add column titled_by text not null default 'message' -- a better title never replaces a person's
        check (titled_by in ('message', 'model', 'person')),
    add column words tsvector,                          -- of its messages, without their places
    add column summary text,                            -- of its beginning, for prompts
    add column summary_upto text;                       -- the id of the last message that it covers
create index threads_shared on tenantry.threads (tenant_id, updated_at desc, thread_id desc) where shared;

-- The words of a text beside those that are known. A thread with too many to store keeps those it has.
create function tenantry.with_words(p_words tsvector, p_text text) returns tsvector
    language plpgsql stable as $$
begin
    return strip(coalesce(p_words, '') || to_tsvector('english', coalesce(p_text, '')));
exception when program_limit_exceeded then
    return p_words;
end $$;

-- What a person is looking for: all words, in any place and order.
create function tenantry.wanted_words(p_query text) returns tsquery
    language sql stable
return regexp_replace(websearch_to_tsquery('english', p_query)::text, '<(-|\d+)>', '&', 'g')::tsquery;

-- Deletes all but the latest checkpoints of a thread, in each namespace, with what only they needed. Whoever
-- calls it has locked the thread's row, and knows that no run holds it. Interrupts wait in writes of the
-- latest checkpoint; before format 4 the parent holds what is pending; a delta channel needs every ancestor.
create function tenantry.prune_checkpoints(p_tenant text, p_thread text, p_keep int) returns int
    language plpgsql as $$
declare
    v_kept text[]; -- namespace and id
    v_gone int;
begin
    if exists (select from tenantry.checkpoints c
                where c.tenant_id = p_tenant and c.thread_id = p_thread
                  and c.metadata ? 'counters_since_delta_snapshot') then
        return 0;
    end if;
    with ranked as (
        select c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, (c.checkpoint->>'v')::int < 4 as old,
               row_number() over (partition by c.checkpoint_ns order by c.checkpoint_id desc) as place
          from tenantry.checkpoints c
         where c.tenant_id = p_tenant and c.thread_id = p_thread
    )
    select array_agg(r.checkpoint_ns || '/' || r.checkpoint_id)
           || coalesce(array_agg(r.checkpoint_ns || '/' || r.parent_checkpoint_id)
                       filter (where r.old and r.parent_checkpoint_id is not null), '{}')
      into v_kept from ranked r where r.place <= greatest(p_keep, 1);
    delete from tenantry.checkpoints c
     where c.tenant_id = p_tenant and c.thread_id = p_thread
       and c.checkpoint_ns || '/' || c.checkpoint_id <> all(v_kept);
    get diagnostics v_gone = row_count;
    delete from tenantry.checkpoint_writes w
     where w.tenant_id = p_tenant and w.thread_id = p_thread
       and w.checkpoint_ns || '/' || w.checkpoint_id <> all(v_kept);
    delete from tenantry.checkpoint_blobs b
     where b.tenant_id = p_tenant and b.thread_id = p_thread
       and not exists (select from tenantry.checkpoints c
                        where c.tenant_id = p_tenant and c.thread_id = p_thread
                          and c.checkpoint_ns = b.checkpoint_ns
                          and c.checkpoint->'channel_versions'->>b.channel = b.version);
    return v_gone;
end $$;

-- commit_turn, and with a run's end what was said becomes words of its thread, of which `keep` checkpoints stay
-- in each namespace. The fence, once more: the same commit again, its first answer lost, may come after
-- another run has taken the thread.
create function tenantry.store_turn(p_tenant text, p_thread uuid, p_run uuid, p_fence bigint,
                                    p_rows jsonb, p_blobs bytea[]) returns void
    language plpgsql as $$
begin
    perform tenantry.commit_turn(p_tenant, p_thread, p_run, p_fence, p_rows, p_blobs);
    if p_fence is null or not p_rows ? 'r' then
        return;
    end if;
    update tenantry.threads t
       set words = case when p_rows ? 'said' then tenantry.with_words(t.words, p_rows->>'said') else t.words end
     where t.tenant_id = p_tenant and t.thread_id = p_thread and t.fence = p_fence and t.lease_run_id is null;
    if found and (p_rows->>'keep')::int > 0 then
        perform tenantry.prune_checkpoints(p_tenant, p_thread::text, (p_rows->>'keep')::int);
    end if;
end $$;

-- Prunes a thread that no run holds, and says how many checkpoints went.
create function tenantry.prune_thread(p_tenant text, p_thread uuid, p_keep int) returns int
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    perform from tenantry.threads t
      where t.tenant_id = p_tenant and t.thread_id = p_thread and t.quarantined_by is null
        and (t.lease_run_id is null or t.lease_until < now()) for update skip locked;
    return case when found then tenantry.prune_checkpoints(p_tenant, p_thread::text, p_keep) else 0 end;
end $$;

revoke execute on function tenantry.with_words(tsvector, text), tenantry.wanted_words(text),
                           tenantry.prune_checkpoints(text, text, int),
                           tenantry.store_turn(text, uuid, uuid, bigint, jsonb, bytea[]),
                           tenantry.prune_thread(text, uuid, int) from public;
grant execute on function tenantry.with_words(tsvector, text), tenantry.wanted_words(text),
                          tenantry.prune_checkpoints(text, text, int),
                          tenantry.store_turn(text, uuid, uuid, bigint, jsonb, bytea[]),
                          tenantry.prune_thread(text, uuid, int) to tenantry_app;
