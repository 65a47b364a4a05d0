-- A tenant gets the vectors of another model without a slow minute, and so do memories; large tenants' words are listed sooner.
set local lock_timeout = '5s';
select '[0]'::public.vector; -- loads the extension, whose settings a function is given below

-- The vector of the next model, of what the memory said at `next_of`, its time of change; the old one serves until all
-- of the tenant's have one.
alter table tenantry.memories
    add column embedded text, -- what the vector is of, where that is not the text of the value
    add column next_model text,
    add column next_embedding public.vector,
    add column next_of timestamptz;
alter table tenantry.memories alter column next_embedding set storage main;
create index memories_by_model on tenantry.memories (tenant_id, embedding_model) where embedding is not null;

-- A large tenant's next vectors have an index of their own before its passages get them. They stay, and are searched
-- by it, until the passages have theirs; what is not `copied` came after. `renewed` is what was given another model:
-- a document that comes late with the former one then does not take the tenant's searches back to it.
alter table tenantry.next_vectors
    add column dimensions int not null generated always as (public.vector_dims(embedding)) stored;
alter table tenantry.documents
    add column renewed boolean not null default false,
    add column copied boolean not null default false;
create index documents_copied on tenantry.documents (tenant_id, document_id) where copied;

-- The fifty passages nearest to a question: of those with a copy of their vectors in the index of next vectors, and of
-- documents that came after. One statement, for when the copies go.
create function tenantry.nearest_copied(p_tenant text, p_model text, p_vector public.vector) returns uuid[]
    language plpgsql set plan_cache_mode = force_custom_plan as $$
declare
    v_nearest uuid[];
begin
    execute format('select array(select n.passage_id
                                   from ((select v.passage_id,
                                                 v.embedding::public.vector(%3$s) operator(public.<=>) $1 as distance
                                            from tenantry.next_vectors v
                                           where v.tenant_id = %1$L and v.embedding_model = %2$L
                                             and v.dimensions = %3$s
                                           order by v.embedding::public.vector(%3$s) operator(public.<=>) $1
                                           fetch first 50 rows with ties)
                                         union all
                                         select p.passage_id, p.distance
                                           from tenantry.documents d, lateral (
                                                select m.passage_id, m.embedding operator(public.<=>) $1 as distance
                                                  from tenantry.passages m
                                                 where m.tenant_id = %1$L and m.document_id = d.document_id
                                                   and m.embedding_model = %2$L and m.dimensions = %3$s offset 0) p
                                          where d.tenant_id = %1$L and not d.copied) n
                                  order by n.distance, n.passage_id limit 50)',
                   p_tenant, p_model, public.vector_dims(p_vector))
       into v_nearest using p_vector;
    return v_nearest;
end $$;
revoke execute on function tenantry.nearest_copied(text, text, public.vector) from public;
grant execute on function tenantry.nearest_copied(text, text, public.vector) to tenantry_app;

-- As before, but for a tenant whose vectors have just changed.
create or replace function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit int,
                                         p_filter jsonb)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8,
                   path text[], page int, start_offset int, end_offset int, ordinal int,
                   distance float8, distance_rank int, word_score float8, word_rank int)
    language plpgsql set plan_cache_mode = force_custom_plan set hnsw.ef_search = 100
    set hnsw.iterative_scan = strict_order as $$
#variable_conflict use_column
declare
    few         constant int := 5000; -- passages: so many are compared one by one rather than by an index
    v_vector    public.vector := p_vector::public.vector;
    v_documents uuid[];
    v_known     bigint;
    v_nearest   uuid[];
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_filter is not null then
        v_documents := tenantry.filter_documents(p_tenant, p_filter);
        v_known := (select coalesce(sum(d.passages), 0) from tenantry.documents d
                     where d.tenant_id = p_tenant and d.document_id = any(v_documents));
    end if;
    if v_documents is null and exists (select from tenantry.documents d where d.tenant_id = p_tenant and d.copied) then
        v_nearest := tenantry.nearest_copied(p_tenant, p_model, v_vector);
    else
        execute format('select array(select n.passage_id
                                       from (select p.passage_id,
                                                    p.embedding::public.vector(%3$s) operator(public.<=>) $1 as distance
                                               from tenantry.passages p
                                              where p.tenant_id = %1$L and p.embedding_model = %2$L
                                                and p.dimensions = %3$s %4$s) n
                                      order by n.distance, n.passage_id limit 50)',
                       p_tenant, p_model, public.vector_dims(v_vector),
                       case when v_known <= few then 'and p.document_id = any($2) offset 0'
                            else case when v_documents is not null then 'and p.document_id = any($2) ' else '' end
                                 || format('order by p.embedding::public.vector(%s) operator(public.<=>) $1
                                            fetch first 50 rows with ties', public.vector_dims(v_vector)) end)
           into v_nearest using v_vector, v_documents;
    end if;
    return query
    with hits as (
        select n.passage_id, n.place, n.place as near, null::float8 as word_score, null::bigint as word
          from unnest(v_nearest) with ordinality as n(passage_id, place)
        union all
        select w.passage_id, w.place, null, w.score, w.place
          from tenantry.rank_by_word(p_tenant, p_query, v_documents) with ordinality as w(passage_id, score, place)
    ), fused as (
        select passage_id, sum(1.0 / (10 + place))::float8 as score,
               max(near)::int as near, max(word_score) as word_score, max(word)::int as word
          from hits group by passage_id order by score desc, passage_id limit p_limit
    )
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score,
           p.path, p.page, p.start_offset, p.end_offset, p.ordinal,
           case when p.embedding_model = p_model and p.dimensions = public.vector_dims(v_vector)
                then p.embedding operator(public.<=>) v_vector end, f.near, f.word_score, f.word
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $$;

-- As before, from the lists where there are 1,500 passages and not 5,000; of what a filter leaves, as before.
create or replace function tenantry.rank_by_word(p_tenant text, p_question text, p_documents uuid[])
    returns table (passage_id uuid, score float8)
    language plpgsql set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    few     constant int := case when p_documents is null then 1500 else 5000 end; -- passages: read as fast one by one
    many    constant int := 10000; -- weighing takes too long: until the worker has listed them, all words count alike
    v_known float8 := (select sum(d.passages) from tenantry.documents d
                        where d.tenant_id = p_tenant and (p_documents is null or d.document_id = any(p_documents)));
    v_all   constant text[] := tsvector_to_array(to_tsvector('english', tenantry.searchable(p_question)));
    v_words tsquery[] := array(select tenantry.word_query(word) from unnest(v_all) word);
    v_any   tsquery := (select string_agg(word::text, '|')::tsquery from unnest(v_words) word);
    v_new   uuid[];
begin
    if v_any is null then
        return;
    elsif v_known > few and exists (select from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '') then
        v_new := array( -- before the lists: what becomes listed meanwhile is found in one of the two
            select p.passage_id
              from tenantry.documents d
              join tenantry.passages p on p.tenant_id = p_tenant and p.document_id = d.document_id
             where d.tenant_id = p_tenant and not d.word_listed and p.lexemes @@ v_any
               and (p_documents is null or d.document_id = any(p_documents))
             order by ts_rank(p.lexemes, v_any, 1) desc, p.passage_id limit 200);
        return query select * from tenantry.rank_by_list(p_tenant, v_all, v_new, p_documents);
        return;
    elsif v_known > many then
        return query
        select p.passage_id, ts_rank(p.lexemes, v_any, 1)::float8 as score from tenantry.passages p
         where p.tenant_id = p_tenant and p.lexemes @@ v_any
           and (p_documents is null or p.document_id = any(p_documents))
         order by score desc, p.passage_id limit 50;
        return;
    end if;
    return query
    with matched as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
        select c.passage_id, c.lexemes
          from (select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
                 where p.tenant_id = p_tenant and (p_documents is null or p.document_id = any(p_documents))
                offset 0) c
         where c.lexemes @@ v_any
    ), frequencies as materialized (
        select word, (select count(*) from matched m where m.lexemes @@ word) as known from unnest(v_words) word
    ), weights as materialized (
        select word, ln(1 + (greatest(v_known, known) - known + 0.5) / (known + 0.5)) as weight from frequencies
    )
    select m.passage_id, s.score
      from matched m, lateral (select sum(w.weight * ts_rank(m.lexemes, w.word, 1)) as score from weights w) s
     order by s.score desc, m.passage_id limit 50;
end $$;
