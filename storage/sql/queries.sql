-- Every statement of the application, named and described in one line.
-- A *call* runs one tenant function, whose first argument is the tenant entered: one round trip.
-- A *query* runs inside `cell.as_tenant(...)`, which has set the tenant, or on a control connection.

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

-- call: search_passages
-- The passages nearest to a question by meaning and by word, of all documents or of those that a filter lets through.
select * from tenantry.search_passages(tenantry.enter(%(tenant_id)s, %(seal)s), %(query)s, %(vector)s, %(model)s, %(limit)s, %(filter)s::jsonb)

-- call: recall_memories
-- The memories of a person and its tenant nearest to a question; without one the latest.
select * from tenantry.recall_memories(tenantry.enter(%(tenant_id)s, %(seal)s), %(subject_id)s, %(model)s, %(vector)s, %(limit)s, %(anyway)s)

-- query: enter
-- Says, with its seal, on whose behalf this transaction acts; local to it.
select tenantry.enter(%(tenant_id)s, %(seal)s)

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

-- query: list_turns
-- The runs of a thread, oldest first, and what they took.
select run_id, thread_id, status, created_at, finished_at, input_tokens, output_tokens, assistant, assistant_version
  from tenantry.runs where tenant_id = %(tenant_id)s and thread_id = %(thread_id)s
 order by created_at, run_id

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

-- query: find_document_by_content
-- The document with this content.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata
  from tenantry.documents where tenant_id = %(tenant_id)s and sha256 = %(sha256)s

-- query: list_contents
-- The content hashes of all documents.
select sha256 from tenantry.documents where tenant_id = %(tenant_id)s

-- query: lock_documents
-- One upload of a tenant at a time counts and inserts.
select pg_advisory_xact_lock(hashtextextended(%(tenant_id)s || '/documents', 7))

-- query: count_documents
-- How many documents the tenant has, and the bytes of their files.
select count(*) as documents, coalesce(sum(size), 0)::bigint as size
  from tenantry.documents where tenant_id = %(tenant_id)s

-- query: add_document
-- Stores a document's row.
insert into tenantry.documents (tenant_id, document_id, subject_id, title, media_type, size, sha256,
                                passages, embedding_model, status, created_at)
values (%(tenant_id)s, %(document_id)s, %(subject_id)s, %(title)s, %(media_type)s, %(size)s, %(sha256)s,
        %(passages)s, %(embedding_model)s, %(status)s, %(created_at)s)

-- query: add_passages
-- Stores a document's passages.
insert into tenantry.passages (tenant_id, document_id, passage_id, ordinal, body, embedding_model, embedding,
                               path, page, start_offset, end_offset)
select %(tenant_id)s, %(document_id)s, p.id, p.ordinal, p.body, %(embedding_model)s, p.embedding::public.vector,
       array(select jsonb_array_elements_text(p.path)), p.page, p.start_offset, p.end_offset
  from unnest(%(ids)s::uuid[], %(ordinals)s::int[], %(bodies)s::text[], %(vectors)s::text[], %(paths)s::jsonb[],
              %(pages)s::int[], %(starts)s::int[], %(ends)s::int[])
    as p(id, ordinal, body, embedding, path, page, start_offset, end_offset)

-- query: add_document_text
-- Stores a document's text.
insert into tenantry.document_texts (tenant_id, document_id, body)
values (%(tenant_id)s, %(document_id)s, %(body)s)

-- query: get_document
-- A document.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata
  from tenantry.documents where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: get_document_text
-- A document's text.
select body from tenantry.document_texts where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: list_passages
-- A document's passages in its order, after one of them.
select p.passage_id, p.ordinal, p.path, p.page, p.start_offset, p.end_offset, p.body from tenantry.passages p
 where p.tenant_id = %(tenant_id)s and p.document_id = %(document_id)s
   and p.ordinal > coalesce((select after.ordinal from tenantry.passages after
                              where after.tenant_id = %(tenant_id)s and after.document_id = %(document_id)s
                                and after.passage_id = %(after_id)s), -1)
 order by p.ordinal limit %(limit)s

-- query: describe_document
-- Replaces the metadata of a document.
update tenantry.documents set metadata = %(metadata)s::jsonb
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: list_neighbours
-- The passages that stand at most so far from some, with those.
select distinct n.tenant_id, n.document_id, n.passage_id, n.ordinal, n.body
  from tenantry.passages p
  join tenantry.passages n on n.tenant_id = %(tenant_id)s and n.document_id = p.document_id
   and n.ordinal between p.ordinal - %(distance)s and p.ordinal + %(distance)s
 where p.tenant_id = %(tenant_id)s and p.passage_id = any(%(passage_ids)s)
 order by n.document_id, n.ordinal

-- query: list_documents
-- Documents, latest first, from a cursor on.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata
  from tenantry.documents
 where tenant_id = %(tenant_id)s
   and (%(after_id)s::uuid is null or (created_at, document_id) < (%(after_time)s, %(after_id)s::uuid))
 order by created_at desc, document_id desc limit %(limit)s

-- query: delete_document
-- Deletes a document; its passages go with it.
delete from tenantry.documents
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s returning document_id

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

-- query: list_keys
-- The tenant's API keys, oldest first, from a cursor on.
select * from tenantry.page_of_keys(%(limit)s, %(after_time)s, %(after_id)s)

-- query: add_key
-- Stores an API key's digest.
select tenantry.add_key(%(key_id)s, %(digest)s, %(subject_id)s, %(role)s, %(scopes)s, %(expires_at)s) as created_at

-- query: revoke_key
-- Revokes an API key of the tenant.
select tenantry.revoke_key(%(key_id)s) as revoked

-- query: find_key
-- One API key of the tenant.
select * from tenantry.find_key(%(key_id)s)

-- query: rotate_key
-- Puts a new API key in the place of one of the tenant, which ends after an overlap.
select * from tenantry.rotate_key(%(key_id)s, %(new_id)s, %(digest)s, %(overlap_seconds)s)

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

-- query: note_key_uses
-- Notes how many seconds ago API keys of any tenants were last used.
select tenantry.note_key_uses(tenantry.enter(%(tenant_id)s, %(seal)s), %(keys)s, %(ages)s)

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

-- query: authenticate_key
-- The API key with this digest.
select * from tenantry.authenticate_key(%(digest)s)

-- query: who_am_i
-- Whether the connected role could bypass row-level security, and what it owns.
select r.rolname as role, r.rolsuper as superuser, r.rolbypassrls as bypasses, r.rolcreaterole as creates_roles,
       r.rolcreatedb as creates_databases,
       exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where n.nspname in ('tenantry', 'control')
                  and (pg_has_role(r.oid, c.relowner, 'member')
                       or pg_has_role(r.oid, n.nspowner, 'member'))) as owns_tables,
       exists (select 1 from pg_roles o where (o.rolsuper or o.rolbypassrls) and o.rolname <> r.rolname
                  and pg_has_role(r.oid, o.oid, 'member')) as can_become_more
  from pg_roles r where r.rolname = current_user

-- query: has_schema
-- Whether the migrations ever ran.
select to_regnamespace('tenantry') is not null as migrated

-- query: applied_migrations
-- Numbers and checksums of the migrations that ran.
select number, checksum from tenantry.applied_migrations() order by number

-- query: current_tenant
-- On whose behalf this transaction acts; null where no seal holds.
select tenantry.current_tenant() as tenant_id

-- query: empty_search_path
-- Has the catalogue print names in full, until the end of the transaction.
select set_config('search_path', 'pg_catalog', true)

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

-- query: add_upload
-- Keeps a file until its document is ready.
insert into tenantry.uploads (tenant_id, document_id, name, title, media_type, content)
values (%(tenant_id)s, %(document_id)s, %(name)s, %(title)s, %(media_type)s, %(content)s)

-- query: enqueue_ingestion
-- Queues a document of the tenant.
select tenantry.enqueue_ingestion(%(document_id)s)

-- query: claim_ingestion
-- The next job of whom it is the turn.
select j.* from (select tenantry.enter(%(tenant_id)s, %(seal)s) as platform) e,
       tenantry.claim_ingestion(e.platform, %(only)s, %(holder)s, %(lease_seconds)s) j

-- query: renew_ingestion
-- Extends the lease of a job; false when somebody else has it, or nobody.
select tenantry.renew_ingestion(%(document_id)s, %(holder)s, %(lease_seconds)s, %(came_on)s) as held

-- query: put_ingestion_back
-- Gives a job back to its line.
select tenantry.put_ingestion_back(%(document_id)s, %(holder)s, %(tries)s, %(after_seconds)s)

-- query: end_ingestion
-- Ends a document's job.
select tenantry.end_ingestion(%(document_id)s)

-- query: ingestion_figures
-- How many jobs of all tenants there are, by state, and the age of the oldest.
select f.* from (select tenantry.enter(%(tenant_id)s, %(seal)s) as platform) e,
       tenantry.ingestion_figures(e.platform) f

-- query: get_upload
-- The file of a document that is not ready.
select u.name, u.title, u.media_type, u.content, d.subject_id, d.status, d.embedding_model
  from tenantry.uploads u join tenantry.documents d using (tenant_id, document_id)
 where u.tenant_id = %(tenant_id)s and u.document_id = %(document_id)s

-- query: begin_reading
-- Says that a document is being read.
update tenantry.documents set status = 'reading'
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: clear_staged
-- Forgets the staged passages of a document.
delete from tenantry.staged_passages where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: clear_document_text
-- Forgets the text of a document.
delete from tenantry.document_texts where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: stage_passages
-- Keeps the passages of a document that are to be embedded.
insert into tenantry.staged_passages (tenant_id, document_id, passage_id, ordinal, body, path, page,
                                      start_offset, end_offset)
select %(tenant_id)s, %(document_id)s, p.id, p.ordinal, p.body, array(select jsonb_array_elements_text(p.path)),
       p.page, p.start_offset, p.end_offset
  from unnest(%(ids)s::uuid[], %(ordinals)s::int[], %(bodies)s::text[], %(paths)s::jsonb[], %(pages)s::int[],
              %(starts)s::int[], %(ends)s::int[])
    as p(id, ordinal, body, path, page, start_offset, end_offset)

-- query: begin_embedding
-- Says what a document turned out to be, and how much of it there is to embed.
update tenantry.documents
   set status = 'embedding', title = %(title)s, media_type = %(media_type)s, passages_done = 0,
       passages_total = %(passages)s, embedding_model = %(embedding_model)s
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: list_unembedded
-- The first staged passages of a document that have no vector yet.
select ordinal, body from tenantry.staged_passages
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s and embedding is null
 order by ordinal limit %(limit)s

-- query: keep_vectors
-- Stores vectors of staged passages.
update tenantry.staged_passages s set embedding = v.embedding::public.vector
  from unnest(%(ordinals)s::int[], %(vectors)s::text[]) as v(ordinal, embedding)
 where s.tenant_id = %(tenant_id)s and s.document_id = %(document_id)s and s.ordinal = v.ordinal

-- query: come_on
-- Counts passages of a document that are embedded.
update tenantry.documents set passages_done = passages_done + %(passages)s
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: publish_passages
-- Makes some staged passages of a document findable.
insert into tenantry.passages (tenant_id, document_id, passage_id, ordinal, body, embedding_model, embedding,
                               path, page, start_offset, end_offset)
select s.tenant_id, s.document_id, s.passage_id, s.ordinal, s.body, d.embedding_model, s.embedding,
       s.path, s.page, s.start_offset, s.end_offset
  from tenantry.staged_passages s join tenantry.documents d using (tenant_id, document_id)
 where s.tenant_id = %(tenant_id)s and s.document_id = %(document_id)s
   and s.ordinal >= %(from_ordinal)s and s.ordinal < %(to_ordinal)s

-- query: finish_document
-- Says that a document is ready.
update tenantry.documents set status = 'ready', passages = passages_total, error = null
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s
returning passages

-- query: fail_document
-- Says why a document could not be read.
update tenantry.documents set status = 'failed', error = %(error)s, passages_done = 0, passages_total = 0
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: queue_document
-- Queues a document that failed.
update tenantry.documents set status = 'queued', error = null
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s and status = 'failed'

-- query: delete_upload
-- Forgets the file of a document.
delete from tenantry.uploads where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- call: who_speaks
-- What a user prefers, and an assistant as it is published or drafted, in one trip.
select * from tenantry.who_speaks(tenantry.enter(%(tenant_id)s, %(seal)s), %(subject_id)s, %(assistant)s, %(draft)s)

-- query: platform_profiles
-- What the deployment says of all assistants, by plan, and the ones that every tenant sees.
select * from tenantry.platform_profiles(tenantry.enter(%(tenant_id)s, %(seal)s))

-- query: put_profile
-- Replaces what the tenant says of its assistants.
select tenantry.put_profile(%(says)s::jsonb) as done

-- query: get_preferences
-- What a user prefers.
select says from tenantry.user_preferences where tenant_id = %(tenant_id)s and subject_id = %(subject_id)s

-- query: put_preferences
-- Replaces what a user prefers.
insert into tenantry.user_preferences (tenant_id, subject_id, says)
values (%(tenant_id)s, %(subject_id)s, %(says)s::jsonb)
on conflict (tenant_id, subject_id) do update set says = excluded.says

-- query: lock_assistants
-- One writer at a time counts the tenant's assistants, until the end of the transaction.
select pg_advisory_xact_lock(hashtextextended('assistants ' || %(tenant_id)s, 0))

-- query: count_assistants
-- How many the tenant has.
select count(*) as assistants from tenantry.assistants where tenant_id = %(tenant_id)s

-- query: add_assistant
-- A new assistant; nothing when its slug is taken.
insert into tenantry.assistants (tenant_id, assistant_id, slug, draft)
values (%(tenant_id)s, %(assistant_id)s, %(slug)s, %(draft)s::jsonb)
on conflict (tenant_id, slug) do nothing

-- query: list_assistants
-- A page of the tenant's assistants, newest first.
select a.assistant_id, a.slug, a.draft, a.published, v.content, a.created_at, a.updated_at
  from tenantry.assistants a
  left join tenantry.assistant_versions v on v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id
                                         and v.version = a.published
 where a.tenant_id = %(tenant_id)s
   and (%(after_time)s::timestamptz is null or (a.created_at, a.assistant_id) < (%(after_time)s, %(after_id)s::uuid))
 order by a.created_at desc, a.assistant_id desc limit %(limit)s

-- query: find_assistant
-- One assistant.
select a.assistant_id, a.slug, a.draft, a.published, v.content, a.created_at, a.updated_at
  from tenantry.assistants a
  left join tenantry.assistant_versions v on v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id
                                         and v.version = a.published
 where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s

-- query: lock_assistant
-- The draft of one assistant, which nobody else changes until the end of the transaction.
select draft from tenantry.assistants
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s for update

-- query: put_draft
-- Replaces an assistant's draft.
update tenantry.assistants set draft = %(draft)s::jsonb, updated_at = now()
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s

-- query: add_version
-- Publishes an assistant's draft as its next version.
insert into tenantry.assistant_versions (tenant_id, assistant_id, version, content, subject_id)
select a.tenant_id, a.assistant_id,
       1 + coalesce((select max(v.version) from tenantry.assistant_versions v
                      where v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id), 0),
       a.draft, %(subject_id)s
  from tenantry.assistants a where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s
returning version

-- query: use_version
-- Puts a version of an assistant into use; nothing without such a version.
update tenantry.assistants a set published = v.version, updated_at = now()
  from tenantry.assistant_versions v
 where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s and v.tenant_id = a.tenant_id
   and v.assistant_id = a.assistant_id and v.version = %(version)s

-- query: list_versions
-- The versions of an assistant, newest first.
select version, content, subject_id as subject, created_at from tenantry.assistant_versions
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s
   and (%(before)s::int is null or version < %(before)s)
 order by version desc limit %(limit)s

-- query: get_version
-- One version of an assistant.
select version, content, subject_id as subject, created_at from tenantry.assistant_versions
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s and version = %(version)s

-- query: delete_assistant
-- Deletes an assistant with its versions.
delete from tenantry.assistants where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s
-- query: lock_word_lists
-- One worker at a time tends a tenant's word lists; false when another does.
select pg_try_advisory_xact_lock(hashtextextended(%(tenant_id)s || '/words', 7))

-- query: count_listed
-- How many passages a tenant has, how many of them are not in its word lists, and what those are made of.
select coalesce(d.passages, 0)::bigint as passages, coalesce(d.unlisted, 0)::bigint as unlisted,
       l.segments, coalesce(l.entries, 0)::bigint as entries
  from (select sum(passages) as passages, sum(passages) filter (where not word_listed) as unlisted
          from tenantry.documents where tenant_id = %(tenant_id)s and status = 'ready') d,
       (select count(*) as segments, sum(passages) as entries
          from tenantry.word_lists where tenant_id = %(tenant_id)s and word = '') l

-- query: list_words
-- Lists the words of a tenant's documents that are not listed, or of all anew.
select tenantry.list_words(%(tenant_id)s, %(anew)s)

-- query: forget_words
-- Drops a tenant's word lists.
select tenantry.forget_words(%(tenant_id)s)

-- query: lock_memories
-- One writer of a person's memories, or of a tenant's own, at a time: their number is limited.
select pg_advisory_xact_lock(hashtextextended(%(tenant_id)s || '/' || coalesce(%(subject_id)s, ''), 18))

-- query: count_other_memories
-- How many memories there are beside the one of this key.
select count(*) as memories from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = coalesce(%(subject_id)s, '')
   and namespace = '{memories}' and key <> %(key)s

-- query: put_memory
-- Stores a memory; one that says the same is written anew.
insert into tenantry.memories (tenant_id, memory_id, subject_id, key, value, embedding_model, embedding, thread_id)
values (%(tenant_id)s, %(memory_id)s, %(subject_id)s, %(key)s, jsonb_build_object('text', %(text)s::text), %(model)s,
        %(vector)s::public.vector, %(thread_id)s)
on conflict (tenant_id, coalesce(subject_id, ''), namespace, key) do update
    set value = excluded.value, embedding_model = excluded.embedding_model, embedding = excluded.embedding,
        thread_id = excluded.thread_id, updated_at = now()
returning tenant_id, memory_id, subject_id, value->>'text' as text, created_at, updated_at

-- query: list_memories
-- The memories of a person and of its tenant, latest first, from a cursor on.
select tenant_id, memory_id, subject_id, value->>'text' as text, created_at, updated_at
  from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') in ('', %(subject_id)s) and namespace = '{memories}'
   and (%(after_id)s::uuid is null or (created_at, memory_id) < (%(after_time)s, %(after_id)s::uuid))
 order by created_at desc, memory_id desc limit %(limit)s

-- query: find_memory
-- A memory that a person may see.
select tenant_id, memory_id, subject_id, value->>'text' as text, created_at, updated_at
  from tenantry.memories
 where tenant_id = %(tenant_id)s and memory_id = %(memory_id)s
   and coalesce(subject_id, '') in ('', %(subject_id)s) and namespace = '{memories}'

-- query: change_memory
-- Gives a memory another text; nothing when another one says that already.
update tenantry.memories m
   set key = %(key)s, value = jsonb_build_object('text', %(text)s::text), embedding_model = %(model)s,
       embedding = %(vector)s::public.vector, updated_at = now()
 where m.tenant_id = %(tenant_id)s and m.memory_id = %(memory_id)s
   and coalesce(m.subject_id, '') in ('', %(subject_id)s) and m.namespace = '{memories}'
   and not exists (select from tenantry.memories o
                    where o.tenant_id = m.tenant_id and coalesce(o.subject_id, '') = coalesce(m.subject_id, '')
                      and o.namespace = m.namespace and o.key = %(key)s and o.memory_id <> m.memory_id)
returning tenant_id, memory_id, subject_id, value->>'text' as text, created_at, updated_at

-- query: delete_memory
-- Deletes a memory that a person may see.
delete from tenantry.memories
 where tenant_id = %(tenant_id)s and memory_id = %(memory_id)s
   and coalesce(subject_id, '') in ('', %(subject_id)s) and namespace = '{memories}'

-- query: delete_own_memory
-- Deletes a person's own memory by its id or by what it says.
delete from tenantry.memories
 where tenant_id = %(tenant_id)s and subject_id = %(subject_id)s and namespace = '{memories}'
   and (memory_id::text = %(named)s or key = %(key)s)
returning memory_id

-- query: delete_own_memories
-- Deletes everything that is remembered of a person.
delete from tenantry.memories where tenant_id = %(tenant_id)s and subject_id = %(subject_id)s

-- query: get_memory_switch
-- Whether a person lets itself be remembered.
select tenantry.remembers(%(tenant_id)s, %(subject_id)s) as enabled

-- query: put_memory_switch
-- Says whether a person lets itself be remembered.
insert into tenantry.memory_switches (tenant_id, subject_id, enabled)
values (%(tenant_id)s, %(subject_id)s, %(enabled)s)
on conflict (tenant_id, subject_id) do update set enabled = excluded.enabled, updated_at = now()

-- query: has_model
-- Whether ready documents of the tenant have vectors of a model.
select exists (select from tenantry.documents
                where tenant_id = %(tenant_id)s and embedding_model = %(model)s and status = 'ready') as found

-- query: list_unrenewed
-- Passages with vectors of the former model, from one on, that have none of the next one yet.
select p.passage_id, p.body from tenantry.passages p
 where p.tenant_id = %(tenant_id)s and p.embedding_model = %(former)s
   and (%(after)s::uuid is null or p.passage_id > %(after)s)
   and not exists (select from tenantry.next_vectors v
                    where v.tenant_id = p.tenant_id and v.passage_id = p.passage_id and v.embedding_model = %(model)s)
 order by p.passage_id limit %(limit)s

-- query: keep_next_vectors
-- Stores vectors of the next model; of a passage that is gone meanwhile, none.
insert into tenantry.next_vectors (tenant_id, passage_id, embedding_model, embedding)
select p.tenant_id, p.passage_id, %(model)s, v.embedding::public.vector
  from unnest(%(ids)s::uuid[], %(vectors)s::text[]) as v(passage_id, embedding)
  join tenantry.passages p on p.tenant_id = %(tenant_id)s and p.passage_id = v.passage_id
on conflict (tenant_id, passage_id) do update
    set embedding_model = excluded.embedding_model, embedding = excluded.embedding

-- query: renew_passages
-- Gives some passages their next vectors.
with part as (
    delete from tenantry.next_vectors v
     where v.tenant_id = %(tenant_id)s
       and v.passage_id in (select n.passage_id from tenantry.next_vectors n
                             where n.tenant_id = %(tenant_id)s limit %(limit)s)
    returning v.passage_id, v.embedding_model, v.embedding
)
update tenantry.passages p set embedding_model = part.embedding_model, embedding = part.embedding
  from part where p.tenant_id = %(tenant_id)s and p.passage_id = part.passage_id

-- query: renew_documents
-- Says that the tenant's documents have the next model.
update tenantry.documents set embedding_model = %(model)s
 where tenant_id = %(tenant_id)s and embedding_model = %(former)s and status = 'ready'

-- query: count_renewed
-- How many passages of the former model the tenant has, and of how many the next vector is there.
select (select count(*) from tenantry.passages
         where tenant_id = %(tenant_id)s and embedding_model = %(former)s) as passages,
       (select count(*) from tenantry.next_vectors
         where tenant_id = %(tenant_id)s and embedding_model = %(model)s) as done
