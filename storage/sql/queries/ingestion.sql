-- Documents on their way to being searchable.

-- query: add_upload
-- Keeps a file until its document is ready.
insert into tenantry.uploads (tenant_id, document_id, name, title, media_type, content)
values (%(tenant_id)s, %(document_id)s, %(name)s, %(title)s, %(media_type)s, %(content)s)

-- query: enqueue_ingestion
-- Queues a document of the tenant.
select tenantry.enqueue_ingestion(%(document_id)s)

-- query: enqueue_fetches
-- Queues pages of the tenant.
select tenantry.enqueue_fetches(%(document_ids)s::uuid[])

-- query: enqueue_failed
-- Queues documents of the tenant that failed: to be read where the file is kept, else to be fetched.
select case when exists (select from tenantry.uploads u
                          where u.tenant_id = d.tenant_id and u.document_id = d.document_id)
            then tenantry.enqueue_ingestion(d.document_id)
            else tenantry.enqueue_fetches(array[d.document_id]) end
  from tenantry.documents d
 where d.tenant_id = %(tenant_id)s and d.document_id = any(%(document_ids)s::uuid[]) and d.status = 'failed'

-- query: claim_fetch
-- The next page to fetch of whom it is the turn.
select j.* from (select tenantry.enter(%(tenant_id)s, %(seal)s) as platform) e,
       tenantry.claim_fetch(e.platform, %(only)s, %(holder)s, %(lease_seconds)s) j

-- query: read_fetched
-- Hands a page that is fetched to who reads it.
select tenantry.read_fetched(%(document_id)s, %(holder)s)

-- query: pages_to_fetch
-- How many pages of all tenants are to be fetched.
select tenantry.pages_to_fetch(e.platform) as pages
  from (select tenantry.enter(%(tenant_id)s, %(seal)s) as platform) e

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

-- query: queue_failed
-- Says that documents that failed are queued.
update tenantry.documents set status = 'queued', error = null
 where tenant_id = %(tenant_id)s and document_id = any(%(document_ids)s::uuid[]) and status = 'failed'

-- query: add_pages
-- Stores the rows of pages that are to be fetched.
insert into tenantry.documents (tenant_id, document_id, subject_id, title, media_type, size, sha256,
                                passages, embedding_model, status, created_at, url)
select %(tenant_id)s, p.id, %(subject_id)s, p.title, %(media_type)s, 0, p.sha256, 0, %(embedding_model)s, 'queued',
       %(created_at)s, p.url
  from unnest(%(ids)s::uuid[], %(titles)s::text[], %(contents)s::bytea[], %(urls)s::text[]) as p(id, title, sha256, url)

-- query: find_documents_by_url
-- The documents of some addresses, the latest last.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata, url
  from tenantry.documents where tenant_id = %(tenant_id)s and url = any(%(urls)s::text[])
 order by created_at, document_id

-- query: keep_page
-- Says what a page was found to be.
update tenantry.documents set size = %(size)s, sha256 = %(sha256)s, media_type = %(media_type)s
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s

-- query: delete_upload
-- Forgets the file of a document.
delete from tenantry.uploads where tenant_id = %(tenant_id)s and document_id = %(document_id)s
