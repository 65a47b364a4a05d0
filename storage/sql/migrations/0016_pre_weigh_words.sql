-- A word counts as much as it is rare, and a name of code is found by the words in it.
set local lock_timeout = '5s';

-- What is searched of a text: camelCase is also read as two words; snake_case always was.
create function tenantry.searchable(p_text text) returns text language sql immutable parallel safe as $$
    select case when p_text collate "C" ~ '[a-z0-9][A-Z]'
                then p_text || ' ' || regexp_replace(p_text collate "C", '([a-z0-9])([A-Z])', '\1 \2', 'g')
                else p_text end
$$;

alter table tenantry.passages drop column lexemes;
alter table tenantry.passages add column lexemes tsvector not null
    generated always as (to_tsvector('english', tenantry.searchable(body))) stored;

-- The fifty passages of the tenant that share the most telling words with a question, best first.
-- A word's part is ts_rank's, which grows with its number and falls with the passage's length, times its rareness:
-- the inverse document frequency of BM25 (Robertson and Zaragoza, 2009). A tenant with more passages than `few` pays
-- for one look at each passage only: there all words are alike.
create function tenantry.rank_by_word(p_tenant text, p_question text) returns uuid[]
    language plpgsql set plan_cache_mode = force_custom_plan as $$
declare
    few     constant int := 5000;
    v_known float8 := (select sum(d.passages) from tenantry.documents d where d.tenant_id = p_tenant);
    v_found constant tsvector := to_tsvector('english', tenantry.searchable(p_question));
    v_words tsquery[] := array(
        select ('''' || replace(replace(word, '\', '\\'), '''', '''''') || '''')::tsquery
          from unnest(tsvector_to_array(v_found)) word);
    v_any   tsquery := (select string_agg(word::text, '|')::tsquery from unnest(v_words) word);
begin
    if v_any is null then
        return '{}';
    elsif v_known > few then
        return array(
            select p.passage_id from tenantry.passages p
             where p.tenant_id = p_tenant and p.lexemes @@ v_any
             order by ts_rank(p.lexemes, v_any, 1) desc, p.passage_id limit 50);
    end if;
    return array(
        with matched as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
            select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
             where p.tenant_id = p_tenant and p.lexemes @@ v_any
        ), frequencies as (
            select word, (select count(*) from matched m where m.lexemes @@ word) as known from unnest(v_words) word
        ), weights as materialized (
            select word, ln(1 + (greatest(v_known, known) - known + 0.5) / (known + 0.5)) as weight from frequencies
        )
        select m.passage_id
          from matched m, lateral (select sum(w.weight * ts_rank(m.lexemes, w.word, 1)) as score from weights w) s
         order by s.score desc, m.passage_id limit 50);
end $$;

revoke execute on function tenantry.rank_by_word(text, text), tenantry.searchable(text) from public;
grant execute on function tenantry.rank_by_word(text, text), tenantry.searchable(text) to tenantry_app;

-- The same answer as before, of better ranks. Few ranks of a list say most: a small constant of the fusion (Cormack et
-- al., SIGIR '09) tells the first from the tenth.
create or replace function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text,
                                                    p_limit int)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8,
                   path text[], page int, start_offset int, end_offset int)
    language plpgsql set plan_cache_mode = force_custom_plan set hnsw.ef_search = 100 as $$
#variable_conflict use_column
declare
    v_vector  public.vector := p_vector::public.vector;
    v_nearest uuid[];
begin
    perform set_config('app.tenant_id', p_tenant, true);
    execute format('select array(select n.passage_id
                                   from (select p.passage_id,
                                                p.embedding::public.vector(%3$s) operator(public.<=>) $1 as distance
                                           from tenantry.passages p
                                          where p.tenant_id = %1$L and p.embedding_model = %2$L
                                            and p.dimensions = %3$s
                                          order by p.embedding::public.vector(%3$s) operator(public.<=>) $1
                                          fetch first 50 rows with ties) n
                                  order by n.distance, n.passage_id limit 50)',
                   p_tenant, p_model, public.vector_dims(v_vector))
       into v_nearest using v_vector;
    return query
    with hits as (
        select * from unnest(v_nearest) with ordinality as n(passage_id, place)
        union all
        select * from unnest(tenantry.rank_by_word(p_tenant, p_query)) with ordinality as w(passage_id, place)
    ), fused as (
        select passage_id, sum(1.0 / (10 + place))::float8 as score
          from hits group by passage_id order by score desc, passage_id limit p_limit
    )
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score,
           p.path, p.page, p.start_offset, p.end_offset
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $$;
