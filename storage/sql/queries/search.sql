-- What a search reads, and what keeps it fast: word lists, and vectors of the next model.

-- call: search_passages
-- The passages nearest to a question by meaning and by word, of all documents or of those that a filter lets through.
select * from tenantry.search_passages(tenantry.enter(%(tenant_id)s, %(seal)s), %(query)s, %(vector)s, %(model)s, %(limit)s, %(filter)s::jsonb)

-- query: list_neighbours
-- The passages that stand at most so far from some, with those.
select distinct n.tenant_id, n.document_id, n.passage_id, n.ordinal, n.body
  from tenantry.passages p
  join tenantry.passages n on n.tenant_id = %(tenant_id)s and n.document_id = p.document_id
   and n.ordinal between p.ordinal - %(distance)s and p.ordinal + %(distance)s
 where p.tenant_id = %(tenant_id)s and p.passage_id = any(%(passage_ids)s)
 order by n.document_id, n.ordinal

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

-- query: has_model
-- Whether ready documents of the tenant have vectors of a model, and none was given another.
select exists (select from tenantry.documents
                where tenant_id = %(tenant_id)s and embedding_model = %(model)s and status = 'ready')
   and not exists (select from tenantry.documents
                    where tenant_id = %(tenant_id)s and embedding_model <> %(model)s and renewed) as found

-- query: has_former_passages
-- Whether passages of the tenant wait for another model; not while copies of their vectors are searched instead.
select exists (select from tenantry.documents
                where tenant_id = %(tenant_id)s and embedding_model = %(former)s and status = 'ready')
   and not exists (select from tenantry.documents where tenant_id = %(tenant_id)s and copied) as found

-- query: list_unrenewed_passages
-- Passages with vectors of the former model, from one on, that have none of the next one yet.
select p.passage_id as id, p.body as text, null::timestamptz as said_at from tenantry.passages p
 where p.tenant_id = %(tenant_id)s and p.embedding_model = %(former)s
   and (%(after)s::uuid is null or p.passage_id > %(after)s)
   and not exists (select from tenantry.next_vectors v
                    where v.tenant_id = p.tenant_id and v.passage_id = p.passage_id and v.embedding_model = %(model)s)
 order by p.passage_id limit %(limit)s

-- query: keep_next_passages
-- Stores vectors of the next model; of a passage that is gone meanwhile, none.
insert into tenantry.next_vectors (tenant_id, passage_id, embedding_model, embedding)
select p.tenant_id, p.passage_id, %(model)s, v.embedding::public.vector
  from unnest(%(ids)s::uuid[], %(vectors)s::text[]) as v(passage_id, embedding)
  join tenantry.passages p on p.tenant_id = %(tenant_id)s and p.passage_id = v.passage_id
on conflict (tenant_id, passage_id) do update
    set embedding_model = excluded.embedding_model, embedding = excluded.embedding

-- query: renew_passages
-- Gives some passages, from one on, their next vectors; the last of them, if there was one.
with part as materialized (
    select v.passage_id, v.embedding_model, v.embedding from tenantry.next_vectors v
     where v.tenant_id = %(tenant_id)s and v.embedding_model = %(model)s
       and (%(after)s::uuid is null or v.passage_id > %(after)s)
     order by v.passage_id limit %(limit)s
), renewed as (
    update tenantry.passages p set embedding_model = part.embedding_model, embedding = part.embedding
      from part where p.tenant_id = %(tenant_id)s and p.passage_id = part.passage_id
)
select passage_id as id from part order by passage_id desc limit 1

-- query: renew_documents
-- Says that the tenant's documents have the next model, and whether copies of their vectors are searched.
update tenantry.documents set embedding_model = %(model)s, renewed = true, copied = %(copied)s
 where tenant_id = %(tenant_id)s and embedding_model = %(former)s and status = 'ready'

-- query: forget_next_vectors
-- Deletes the vectors beside those that are searched.
delete from tenantry.next_vectors where tenant_id = %(tenant_id)s

-- query: has_copied
-- Whether copies of the tenant's vectors are searched instead of its passages.
select exists (select from tenantry.documents where tenant_id = %(tenant_id)s and copied)

-- query: settle_copied
-- Searches the tenant's passages themselves again.
with settled as (
    update tenantry.documents set copied = false where tenant_id = %(tenant_id)s and copied returning document_id
)
delete from tenantry.next_vectors where tenant_id = %(tenant_id)s and exists (select from settled)

-- query: count_renewed_passages
-- How many passages of the former model the tenant has, and of how many the next vector is there.
select (select count(*) from tenantry.passages
         where tenant_id = %(tenant_id)s and embedding_model = %(former)s) as total,
       (select count(*) from tenantry.next_vectors
         where tenant_id = %(tenant_id)s and embedding_model = %(model)s
           and not exists (select from tenantry.documents where tenant_id = %(tenant_id)s and copied)) as done
