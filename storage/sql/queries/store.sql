-- What LangGraph's store asks of the memories: an owner is a person, or '' for the tenant itself.

-- query: get_item
-- One item by its name.
select tenant_id, coalesce(subject_id, '') as owner, namespace, key, value, created_at, updated_at
  from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = %(owner)s
   and namespace = %(namespace)s::text[] and key = %(key)s

-- query: put_item
-- Stores an item, in the place of the one of its name.
insert into tenantry.memories
       (tenant_id, memory_id, subject_id, namespace, key, value, embedded, embedding_model, embedding, thread_id)
values (%(tenant_id)s, %(memory_id)s, nullif(%(owner)s, ''), %(namespace)s::text[], %(key)s, %(value)s::jsonb,
        %(embedded)s, %(model)s, %(vector)s::public.vector, %(thread_id)s)
on conflict (tenant_id, coalesce(subject_id, ''), namespace, key) do update
    set value = excluded.value, embedded = excluded.embedded, embedding_model = excluded.embedding_model,
        embedding = excluded.embedding, thread_id = excluded.thread_id, updated_at = now()
returning memory_id

-- query: delete_item
-- Deletes an item by its name.
delete from tenantry.memories
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = %(owner)s
   and namespace = %(namespace)s::text[] and key = %(key)s
returning memory_id

-- query: search_items
-- The items below a namespace for which every condition holds: nearest first, those that cannot be compared last.
select tenant_id, coalesce(subject_id, '') as owner, namespace, key, value, created_at, updated_at,
       case when embedding_model = %(model)s
                 and public.vector_dims(embedding) = public.vector_dims(%(vector)s::public.vector)
            then 1 - (embedding operator(public.<=>) %(vector)s::public.vector) end as score
  from tenantry.memories m
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') = any(%(owners)s::text[])
   and namespace[1:cardinality(%(prefix)s::text[])] = %(prefix)s::text[]
   and not exists (
       select
         from jsonb_to_recordset(%(conditions)s::jsonb) as c (field text, operator text, operand jsonb),
              lateral (select coalesce(m.value -> c.field, 'null') as found, coalesce(c.operand, 'null') as wanted)
        where not case c.operator
                  when '$eq' then found = wanted
                  when '$ne' then found <> wanted
                  else jsonb_typeof(found) = jsonb_typeof(wanted)
                       and case c.operator when '$gt' then found > wanted when '$gte' then found >= wanted
                                           when '$lt' then found < wanted when '$lte' then found <= wanted end end)
 order by score desc nulls last, updated_at desc, memory_id limit %(limit)s offset %(offset)s

-- query: list_namespaces
-- The namespaces, below `person` and `tenant`, that every condition fits; `*` fits any label.
select distinct path[1:coalesce(%(depth)s, cardinality(path))] collate "C" as namespace
  from tenantry.memories m,
       lateral (select array_prepend(case when m.subject_id is null then 'tenant' else 'person' end, m.namespace) as path)
 where tenant_id = %(tenant_id)s and coalesce(subject_id, '') in ('', %(subject_id)s)
   and not exists (
       select
         from jsonb_to_recordset(%(conditions)s::jsonb) as c (is_suffix boolean, labels text[]),
              lateral (select case when c.is_suffix then cardinality(path) - cardinality(c.labels) else 0 end as skipped)
        where cardinality(c.labels) > cardinality(path)
           or exists (select from unnest(c.labels) with ordinality as each (label, n)
                       where label <> '*' and label <> path[skipped + n::int]))
 order by 1 limit %(limit)s offset %(offset)s
