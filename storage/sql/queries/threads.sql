-- Conversations, and what is kept of them.

-- query: create_thread
-- Makes an empty thread; nothing when the id is taken.
insert into tenantry.threads (tenant_id, thread_id, subject_id, title, titled_by)
values (%(tenant_id)s, %(thread_id)s, %(subject_id)s, %(title)s, %(titled_by)s)
on conflict (tenant_id, thread_id) do nothing
returning thread_id, title, subject_id, shared, created_at, updated_at

-- query: fill_thread
-- Gives a thread just made the words and the memory of another conversation, with usage and audit.
with words as (update tenantry.threads set words = tenantry.with_words(null, %(said)s)
                where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s)
select tenantry.commit_turn(%(tenant_id)s, null, null, null, %(rows)s::jsonb, %(blobs)b::bytea[])

-- query: get_thread
-- A thread that the caller may read.
select thread_id, title, subject_id, shared, created_at, updated_at from tenantry.threads
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
   and (%(sees_all)s or subject_id = %(subject_id)s or shared)

-- query: quarantine_of
-- A row where the thread is quarantined.
select quarantined_by from tenantry.threads
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s and quarantined_by is not null

-- query: change_thread
-- Renames or shares a thread of the caller's; what is null stays. An empty title gives way to the next turn's.
update tenantry.threads
   set title = coalesce(%(title)s::text, title), shared = coalesce(%(shared)s::boolean, shared),
       titled_by = case when %(title)s::text is null then titled_by
                        when %(title)s::text = '' then 'message' else 'person' end
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
   and (%(sees_all)s or subject_id = %(subject_id)s)
returning thread_id, title, subject_id, shared, created_at, updated_at

-- query: give_title
-- Puts a model's title in the place of the one that a message gave, and of no other.
update tenantry.threads set title = %(title)s, titled_by = 'model'
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
   and titled_by = 'message' and title = %(instead_of)s

-- query: get_summary
-- The summary of a thread, and the id of the last message that it covers.
select summary, summary_upto from tenantry.threads
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s and summary_upto is not null

-- query: give_summary
-- Puts a summary in the place of the one that it goes on from, and of no other.
update tenantry.threads set summary = %(summary)s, summary_upto = %(upto)s
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
   and summary_upto is not distinct from %(instead_of)s::text

-- query: list_threads
-- The caller's threads, or the tenant's for who may see all, latest first, from a cursor on.
select thread_id, title, subject_id, shared, created_at, updated_at from tenantry.threads
 where tenant_id = %(tenant_id)s and (%(sees_all)s or subject_id = %(subject_id)s)
   and (%(shared)s::boolean is null or shared = %(shared)s)
   and (%(after_id)s::uuid is null or (updated_at, thread_id) < (%(after_time)s, %(after_id)s::uuid))
 order by updated_at desc, thread_id desc limit %(limit)s

-- query: list_shared_threads
-- The threads that somebody shared with the tenant, latest first, from a cursor on.
select thread_id, title, subject_id, shared, created_at, updated_at from tenantry.threads
 where tenant_id = %(tenant_id)s and shared
   and (%(after_id)s::uuid is null or (updated_at, thread_id) < (%(after_time)s, %(after_id)s::uuid))
 order by updated_at desc, thread_id desc limit %(limit)s

-- query: search_threads
-- Of all threads that the caller may read those with the words, or with the text in their title; latest first.
with wanted as (
    select tenantry.wanted_words(%(query)s::text) as words, lower(%(query)s::text) as text
), own as (
    select t.* from tenantry.threads t, wanted w
     where t.tenant_id = %(tenant_id)s and (%(sees_all)s or t.subject_id = %(subject_id)s)
       and (%(shared)s::boolean is null or t.shared = %(shared)s)
       and (%(after_id)s::uuid is null or (t.updated_at, t.thread_id) < (%(after_time)s, %(after_id)s::uuid))
       and (coalesce(t.words, '') || to_tsvector('english', t.title) @@ w.words
            or strpos(lower(t.title), w.text) > 0)
     order by t.updated_at desc, t.thread_id desc limit %(limit)s
), others as (
    select t.* from tenantry.threads t, wanted w
     where t.tenant_id = %(tenant_id)s and t.shared and t.subject_id <> %(subject_id)s
       and not %(sees_all)s and %(shared)s::boolean is not false
       and (%(after_id)s::uuid is null or (t.updated_at, t.thread_id) < (%(after_time)s, %(after_id)s::uuid))
       and (coalesce(t.words, '') || to_tsvector('english', t.title) @@ w.words
            or strpos(lower(t.title), w.text) > 0)
     order by t.updated_at desc, t.thread_id desc limit %(limit)s
)
select thread_id, title, subject_id, shared, created_at, updated_at
  from (select * from own union all select * from others) found
 order by updated_at desc, thread_id desc limit %(limit)s

-- query: crowded_threads
-- Threads with more checkpoints in one namespace than stay, which no run holds.
select distinct c.thread_id::uuid as thread_id from tenantry.checkpoints c
  join tenantry.threads t on t.tenant_id = %(tenant_id)s and t.thread_id::text = c.thread_id
 where c.tenant_id = %(tenant_id)s and t.quarantined_by is null
   and (t.lease_run_id is null or t.lease_until < now())
 group by c.thread_id, c.checkpoint_ns having count(*) > %(keep)s limit %(limit)s

-- call: prune_thread
-- Deletes the superseded checkpoints of a thread that no run holds.
select tenantry.prune_thread(tenantry.enter(%(tenant_id)s, %(seal)s), %(thread_id)s, %(keep)s) as pruned

-- query: lock_thread
-- A visible thread, locked, whether a run is writing to it, and whether it is quarantined.
select thread_id, coalesce(lease_until > now(), false) as busy,
       quarantined_by is not null as quarantined from tenantry.threads
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
   and (%(sees_all)s or subject_id = %(subject_id)s) for update

-- query: release_thread
-- Opens a quarantined thread again.
update tenantry.threads set quarantined_by = null
 where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s and quarantined_by is not null

-- query: delete_thread
-- Deletes a thread; its runs go with it.
delete from tenantry.threads where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s

-- query: delete_checkpoints
-- Deletes what LangGraph remembers of a thread.
with written as (delete from tenantry.checkpoint_writes
        where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s),
     blobs as (delete from tenantry.checkpoint_blobs
        where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s)
delete from tenantry.checkpoints where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
