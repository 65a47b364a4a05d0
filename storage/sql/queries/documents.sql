-- Documents, and the passages they were split into.

-- query: find_document_by_content
-- The document with this content.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata, url
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
                                passages, embedding_model, status, created_at, url)
values (%(tenant_id)s, %(document_id)s, %(subject_id)s, %(title)s, %(media_type)s, %(size)s, %(sha256)s,
        %(passages)s, %(embedding_model)s, %(status)s, %(created_at)s, %(url)s)

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
       passages_done, passages_total, metadata, url
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

-- query: describe_documents
-- Replaces the metadata of documents.
update tenantry.documents set metadata = %(metadata)s::jsonb
 where tenant_id = %(tenant_id)s and document_id = any(%(document_ids)s::uuid[])

-- query: list_documents
-- Documents, latest first, from a cursor on.
select document_id, title, media_type, size, sha256, passages, status, created_at, error,
       passages_done, passages_total, metadata, url
  from tenantry.documents
 where tenant_id = %(tenant_id)s
   and (%(after_id)s::uuid is null or (created_at, document_id) < (%(after_time)s, %(after_id)s::uuid))
 order by created_at desc, document_id desc limit %(limit)s

-- query: delete_document
-- Deletes a document; its passages go with it.
delete from tenantry.documents
 where tenant_id = %(tenant_id)s and document_id = %(document_id)s returning document_id
