-- Large tenants find passages by word in lists that are kept for them: a word, and who has it, most telling first.
-- A tsvector's own index cannot serve: row-level security lets a condition that could leak see no row before the
-- policy has, and `@@` is one. Equality of text is not.
set local lock_timeout = '5s';
select '[0]'::public.vector; -- loads the extension, whose settings a function is given below

alter table tenantry.documents add column word_listed boolean not null default false; -- in the lists, all of it
create index documents_not_word_listed on tenantry.documents (tenant_id, document_id) where not word_listed;

-- Blocks of a thousand passages. The word '' is that of every passage: it says how many were listed.
create table tenantry.word_lists (
    tenant_id   text not null default tenantry.current_tenant() check (tenant_id <> ''),
    word        text not null,
    segment     int not null,     -- what was listed at one time
    block       int not null,     -- the first has the most telling
    passages    int not null,     -- of the segment, that have the word
    passage_ids uuid[] not null,
    weights     real[] not null,  -- of each, the ts_rank of the word alone
    primary key (tenant_id, word, segment, block)
);
alter table tenantry.word_lists enable row level security;
alter table tenantry.word_lists force row level security;
create policy tenant_isolation on tenantry.word_lists to tenantry_app
    using (tenant_id = (select tenantry.current_tenant())) with check (tenant_id = (select tenantry.current_tenant()));
create policy owner_erases on tenantry.word_lists to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
grant select, insert, update, delete on tenantry.word_lists to tenantry_app;

-- A word as a query of its own.
create function tenantry.word_query(p_word text) returns tsquery language sql immutable parallel safe
return ('''' || replace(replace(p_word, '\', '\\'), '''', '''''') || '''')::tsquery;

-- Forgets the tenant's lists.
create function tenantry.forget_words(p_tenant text) returns void language plpgsql as $$
begin
    delete from tenantry.word_lists l where l.tenant_id = p_tenant;
    update tenantry.documents d set word_listed = false where d.tenant_id = p_tenant and d.word_listed;
end $$;

-- Lists the words of the tenant's documents that are not listed, or of all of them anew. Searches go on meanwhile.
create function tenantry.list_words(p_tenant text, p_anew boolean) returns void
    language plpgsql set plan_cache_mode = force_custom_plan set work_mem = '64MB' as $$
declare
    v_documents uuid[] := array(select d.document_id from tenantry.documents d
                                 where d.tenant_id = p_tenant and d.status = 'ready' and (p_anew or not d.word_listed));
    v_segment   int;
begin
    if p_anew then
        delete from tenantry.word_lists l where l.tenant_id = p_tenant;
    end if;
    v_segment := 1 + coalesce((select max(l.segment) from tenantry.word_lists l
                                where l.tenant_id = p_tenant and l.word = ''), 0);
    insert into tenantry.word_lists (tenant_id, word, segment, block, passages, passage_ids, weights)
    with listed as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
        select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
         where p.tenant_id = p_tenant and p.document_id = any(v_documents)
    ), ranked as (
        select u.lexeme as word, l.passage_id, ts_rank(l.lexemes, tenantry.word_query(u.lexeme), 1) as weight
          from listed l, unnest(l.lexemes) u
    ), placed as (
        select r.*, row_number() over (partition by r.word order by r.weight desc, r.passage_id) - 1 as place,
               count(*) over (partition by r.word) as known
          from ranked r
    )
    select p_tenant, p.word, v_segment, p.place / 1000, max(p.known),
           array_agg(p.passage_id order by p.place), array_agg(p.weight order by p.place)
      from placed p group by p.word, p.place / 1000
    union all
    select p_tenant, '', v_segment, 0, count(*), '{}', '{}' from listed;
    update tenantry.documents d set word_listed = true
     where d.tenant_id = p_tenant and d.document_id = any(v_documents) and not d.word_listed;
end $$;

-- The passages with the most telling words, from the lists: two hundred of them, and what is new and not listed yet, are
-- ranked by all words. Of a rare word (weight 3: one passage in twenty has it) three blocks are read, of others one, and
-- none of those that more than a third have, unless no other was asked for. Planned once: each row is found by its key.
create function tenantry.rank_by_list(p_tenant text, p_words text[], p_new uuid[], p_documents uuid[])
    returns table (passage_id uuid, score float8)
    language plpgsql set plan_cache_mode = force_generic_plan set enable_hashjoin = off set enable_mergejoin = off
    set enable_seqscan = off as $$
#variable_conflict use_column
declare
    v_known float8 := (select sum(l.passages) from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '');
    v_most  int := case when p_documents is null then 200 else 2000 end; -- of which the filter leaves some
begin
    return query
    with weights as materialized (
        select a.word, tenantry.word_query(a.word) as query,
               ln(1 + (greatest(v_known, f.known) - f.known + 0.5) / (f.known + 0.5)) as weight
          from unnest(p_words) a(word), lateral (
                   select coalesce(sum(l.passages), 0) as known from tenantry.word_lists l
                    where l.tenant_id = p_tenant and l.word = a.word and l.block = 0) f
    ), foremost as (
        select e.passage_id, sum(w.weight * e.weight) as score
          from weights w
          join tenantry.word_lists l on l.tenant_id = p_tenant and l.word = w.word
           and l.block < case when w.weight < least(1, (select max(weight) from weights)) then 0
                              when w.weight < 3 then 1 else 3 end
         cross join unnest(l.passage_ids, l.weights) e(passage_id, weight)
         group by e.passage_id order by score desc, e.passage_id limit v_most
    ), candidates as materialized (
        select c.passage_id, setweight(c.lexemes, 'D') as lexemes
          from (select p.passage_id, p.document_id, p.lexemes
                  from (select passage_id from foremost union select unnest(p_new)) f
                  join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
                offset 0) c -- each by its own id: a document may have every passage there is
         where p_documents is null or c.document_id = any(p_documents)
    )
    select c.passage_id, s.score
      from candidates c, lateral (select sum(w.weight * ts_rank(c.lexemes, w.query, 1)) as score from weights w) s
     order by s.score desc, c.passage_id limit 50;
end $$;

-- As before, with scores, of all documents of the tenant or of some; where its words are listed, from the lists.
drop function tenantry.rank_by_word(text, text);
create function tenantry.rank_by_word(p_tenant text, p_question text, p_documents uuid[])
    returns table (passage_id uuid, score float8)
    language plpgsql set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    few     constant int := 5000;  -- passages: lists of so few save nothing
    many    constant int := 10000; -- the worker lists the words of so many: until then, all words count alike
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

alter table control.tenants add column promoted boolean; -- an operator's wish; null is by its size

-- Searches are narrowed to documents by what is known of them.
alter table tenantry.documents
    add column metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'); -- names and scalars

-- The tenant's documents that a filter lets through. Each condition on metadata is {"key", "any_of": [...]} or
-- {"key", "present": true|false}; all must hold.
create function tenantry.filter_documents(p_tenant text, p_filter jsonb) returns uuid[]
    language plpgsql stable as $$
begin
    return array(
        select d.document_id from tenantry.documents d
         where d.tenant_id = p_tenant and d.status = 'ready'
           and (p_filter->'document_ids' is null or p_filter->'document_ids' ? d.document_id::text)
           and (p_filter->'media_types' is null or p_filter->'media_types' ? d.media_type)
           and (p_filter->'created_from' is null or d.created_at >= (p_filter->>'created_from')::timestamptz)
           and (p_filter->'created_before' is null or d.created_at < (p_filter->>'created_before')::timestamptz)
           and not exists (
               select from jsonb_to_recordset(coalesce(p_filter->'metadata', '[]'))
                           as c(key text, any_of jsonb, present boolean)
                where not coalesce(case when c.present is null then c.any_of @> (d.metadata->c.key)
                                        else (d.metadata ? c.key) = c.present end, false)));
end $$;

-- The passages of the tenant, or of its documents that a filter lets through, that are nearest to a question by meaning
-- and by word, and why each is: its distance and score, and its places by both. Few ranks of a list say most: a small
-- constant of the fusion (Cormack et al., SIGIR '09) tells the first from the tenth. Planned for its
-- tenant each time: the plan for the average one reads all passages of a large one to find ten.
create function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text, p_limit int,
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

-- For servers that know of no filter.
create or replace function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text,
                                                    p_limit int)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8,
                   path text[], page int, start_offset int, end_offset int)
    language plpgsql as $$
begin
    return query
    select s.tenant_id, s.passage_id, s.document_id, s.title, s.body, s.score,
           s.path, s.page, s.start_offset, s.end_offset
      from tenantry.search_passages(p_tenant, p_query, p_vector, p_model, p_limit, null) s;
end $$;

revoke execute on function tenantry.word_query(text), tenantry.forget_words(text), tenantry.list_words(text, boolean),
    tenantry.rank_by_list(text, text[], uuid[], uuid[]), tenantry.rank_by_word(text, text, uuid[]),
    tenantry.filter_documents(text, jsonb),
    tenantry.search_passages(text, text, text, text, int, jsonb) from public;
grant execute on function tenantry.word_query(text), tenantry.forget_words(text), tenantry.list_words(text, boolean),
    tenantry.rank_by_list(text, text[], uuid[], uuid[]), tenantry.rank_by_word(text, text, uuid[]),
    tenantry.filter_documents(text, jsonb),
    tenantry.search_passages(text, text, text, text, int, jsonb) to tenantry_app;
