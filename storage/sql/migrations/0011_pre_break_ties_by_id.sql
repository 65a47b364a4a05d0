-- Passages that are equally near came in the order of their rows on disk, which depends on what other
-- tenants write between them: a neighbour's upload could change a tenant's scores. Ties are broken by
-- id. WITH TIES, so that the tie at the end is broken too; a second sort key would keep an index from
-- being used before PostgreSQL 17.
set local lock_timeout = '5s';

create or replace function tenantry.search_passages(p_tenant text, p_query text, p_vector text,
                                                    p_model text, p_limit int)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8)
    language plpgsql set plan_cache_mode = force_custom_plan set hnsw.ef_search = 100 as $$
#variable_conflict use_column
declare
    v_vector  public.vector := p_vector::public.vector;
    v_words   tsquery := replace(plainto_tsquery('english', p_query)::text, ' & ', ' | ')::tsquery;
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
    with by_meaning as (
        select n.passage_id, n.place from unnest(v_nearest) with ordinality as n(passage_id, place)
    ), by_word as (
        select p.passage_id, row_number() over (order by ts_rank(p.lexemes, v_words, 1) desc, p.passage_id) as place
          from tenantry.passages p
         where p.tenant_id = p_tenant and p.lexemes @@ v_words
         order by ts_rank(p.lexemes, v_words, 1) desc, p.passage_id limit 50
    ), fused as (
        select passage_id, sum(1.0 / (60 + place))::float8 as score
          from (select * from by_meaning union all select * from by_word) hits
         group by passage_id order by score desc, passage_id limit p_limit
    )
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $$;
