-- Runs, the leases of their threads, and the turns that they commit.

-- call: open_run
-- Finds or makes the thread, takes its lease, inserts the run, and says who speaks in it and whether it recalls.
select o.*, case when o.outcome = 'opened' then tenantry.memory_of(%(tenant_id)s, %(subject_id)s) end as memory,
       case when o.outcome = 'opened' and not %(new_thread)s
            then tenantry.settled_checkpoint(%(tenant_id)s, %(thread_id)s::text) end as checkpoint_id
  from tenantry.open_run_as(tenantry.enter(%(tenant_id)s, %(seal)s), %(run_id)s, %(thread_id)s, %(new_thread)s,
    %(subject_id)s, %(sees_all)s, %(lease_seconds)s, %(idempotency_key)s, %(digest)s,
    %(assistant)s, %(draft)s, %(goes_on)s, %(universal)s::jsonb) o

-- call: renew_lease
-- Extends a lease; false when the run no longer holds it.
select tenantry.renew_lease(tenantry.enter(%(tenant_id)s, %(seal)s), %(run_id)s, %(thread_id)s, %(fence)s, %(lease_seconds)s) as held

-- call: discard_run
-- Undoes an opened run that was refused, and audits the refusal.
select tenantry.discard_run(tenantry.enter(%(tenant_id)s, %(seal)s), %(run_id)s, %(thread_id)s, %(new_thread)s, %(rows)s::jsonb)

-- call: quarantine_run
-- Ends a run that met something foreign: it leaves its usage and audit, and closes its thread.
select tenantry.quarantine_run(tenantry.enter(%(tenant_id)s, %(seal)s), %(run_id)s, %(thread_id)s, %(title)s, %(rows)s::jsonb)

-- call: commit_turn
-- Checkpoints, usage, audit and the run's end in one statement, which leaves no superseded checkpoint.
select tenantry.store_turn(tenantry.enter(%(tenant_id)s, %(seal)s), %(thread_id)s, %(run_id)s, %(fence)s, %(rows)s::jsonb, %(blobs)b::bytea[])

-- call: get_checkpoint
-- One checkpoint with its channel values and pending writes; the latest without an id.
select * from tenantry.load_checkpoint(tenantry.enter(%(tenant_id)s, %(seal)s), %(thread_id)s, %(checkpoint_ns)s, %(checkpoint_id)s)

-- query: get_run
-- A run of a visible thread; one whose lease ran out without an end has failed.
select r.run_id, r.thread_id, r.created_at, r.finished_at, r.input_tokens, r.output_tokens,
       r.assistant, r.assistant_version,
       case when r.status = 'running'
             and not coalesce(t.lease_run_id = r.run_id and t.lease_until > now(), false)
            then 'error' else r.status end as status
  from tenantry.runs r join tenantry.threads t using (tenant_id, thread_id)
 where r.tenant_id = %(tenant_id)s and r.run_id = %(run_id)s
   and (%(sees_all)s or t.subject_id = %(subject_id)s or t.shared)

-- query: list_turns
-- The runs of a thread, oldest first, and what they took.
select run_id, thread_id, status, created_at, finished_at, input_tokens, output_tokens, assistant, assistant_version
  from tenantry.runs where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
 order by created_at, run_id
