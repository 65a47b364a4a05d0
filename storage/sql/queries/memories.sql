-- What is remembered of persons and tenants.

-- call: recall_memories
-- The memories of a person and its tenant nearest to a question; without one the latest.
select * from tenantry.recall_memories(tenantry.enter(%(tenant_id)s, %(seal)s), %(subject_id)s, %(model)s, %(vector)s, %(limit)s, %(anyway)s)

-- query: get_recall
-- What a run may know of its person's memory.
select tenantry.memory_of(%(tenant_id)s, %(subject_id)s) as memory

-- query: lock_memories
-- One writer of a person's memories, or of a tenant's own, at a time: their number is limited.
select pg_advisory_xact_lock(hashtextextended(%(tenant_id)s || '/' || coalesce(%(subject_id)s, ''), 18))

-- query: count_other_memories
-- How many things are kept of an owner beside the one of this name.
select count(*) as memories from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = coalesce(%(subject_id)s, '')
   and (namespace, key) <> (%(namespace)s::text[], %(key)s)

-- query: put_memory
-- Stores a memory; one that says the same is written anew.
insert into tenantry.memories (tenant_id, memory_id, subject_id, key, value, embedding_model, embedding, thread_id)
values (%(tenant_id)s, %(memory_id)s, %(subject_id)s, %(key)s, jsonb_build_object('text', %(text)s::text), %(model)s,
        %(vector)s::public.vector, %(thread_id)s)
on conflict (tenant_id, coalesce(subject_id, ''), namespace, key) do update
    set value = excluded.value, embedded = null, embedding_model = excluded.embedding_model, embedding = excluded.embedding,
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
   set key = %(key)s, value = jsonb_build_object('text', %(text)s::text), embedded = null, embedding_model = %(model)s,
       embedding = %(vector)s::public.vector, updated_at = now()
 where m.tenant_id = %(tenant_id)s and m.memory_id = %(memory_id)s
   and coalesce(m.subject_id, '') in ('', %(subject_id)s) and m.namespace = '{memories}'
   and not exists (select from tenantry.memories o
                    where o.tenant_id = m.tenant_id and coalesce(o.subject_id, '') = coalesce(m.subject_id, '')
                      and o.namespace = m.namespace and o.key = %(key)s and o.memory_id <> m.memory_id)
returning tenant_id, memory_id, subject_id, value->>'text' as text, created_at, updated_at

-- query: list_kept
-- All that is kept of an owner, oldest first: of a person, or without one of the tenant itself.
select tenant_id, memory_id, subject_id, namespace, key, value, thread_id, created_at, updated_at
  from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = coalesce(%(subject_id)s, '')
 order by created_at, memory_id

-- query: find_owner
-- Whose a thing is that a person may see; no row where it may see none.
select subject_id from tenantry.memories
 where tenant_id = %(tenant_id)s and memory_id = %(memory_id)s and coalesce(subject_id, '') in ('', %(subject_id)s)

-- query: delete_memory
-- Deletes a thing that a person may see.
delete from tenantry.memories
 where tenant_id = %(tenant_id)s and memory_id = %(memory_id)s and coalesce(subject_id, '') in ('', %(subject_id)s)

-- query: delete_kept
-- Deletes things of an owner by their ids.
delete from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = coalesce(%(subject_id)s, '')
   and memory_id = any(%(memory_ids)s)
returning memory_id

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

-- query: has_memory_model
-- Whether the tenant's memories are asked by this model: all that can be found have its vectors.
select coalesce(min(embedding_model) = %(model)s and max(embedding_model) = %(model)s, false) as found
  from tenantry.memories
 where tenant_id = %(tenant_id)s and embedding is not null

-- query: has_former_memories
-- Whether memories of the tenant wait for another model.
select exists (select from tenantry.memories
                where tenant_id = %(tenant_id)s and embedding_model = %(former)s and embedding is not null) as found

-- query: list_unrenewed_memories
-- Memories with vectors of the former model, from one on, that have none of the next one for what they say now.
select memory_id as id, coalesce(embedded, value->>'text') as text, updated_at as said_at from tenantry.memories
 where tenant_id = %(tenant_id)s and embedding_model = %(former)s and embedding is not null
   and (next_model, next_of) is distinct from (%(model)s, updated_at)
   and (%(after)s::uuid is null or memory_id > %(after)s)
 order by memory_id limit %(limit)s

-- query: keep_next_memories
-- Stores vectors of the next model, and of when the text was said that each is of.
update tenantry.memories m set next_model = %(model)s, next_embedding = v.embedding::public.vector, next_of = v.said_at
  from unnest(%(ids)s::uuid[], %(vectors)s::text[], %(said_at)s::timestamptz[]) as v(memory_id, embedding, said_at)
 where m.tenant_id = %(tenant_id)s and m.memory_id = v.memory_id

-- query: renew_memories
-- Gives some memories, from one on, their next vectors; the last of them, if there was one.
with part as materialized (
    select memory_id from tenantry.memories
     where tenant_id = %(tenant_id)s and embedding_model = %(former)s and next_model = %(model)s
       and next_of = updated_at and (%(after)s::uuid is null or memory_id > %(after)s)
     order by memory_id limit %(limit)s
), renewed as (
    update tenantry.memories m
       set embedding_model = m.next_model, embedding = m.next_embedding,
           next_model = null, next_embedding = null, next_of = null
      from part where m.tenant_id = %(tenant_id)s and m.memory_id = part.memory_id and m.next_of = m.updated_at
)
select memory_id as id from part order by memory_id desc limit 1

-- query: count_renewed_memories
-- How many memories of the former model the tenant has, and of how many the next vector is there.
select count(*) as total,
       count(*) filter (where (next_model, next_of) is not distinct from (%(model)s, updated_at)) as done
  from tenantry.memories
 where tenant_id = %(tenant_id)s and embedding_model = %(former)s and embedding is not null
