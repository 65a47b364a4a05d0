-- A passage knows where it stands: the headings above it, its page and its place in the document's text, which is
-- kept, so that a citation opens there.
set local lock_timeout = '5s';

alter table tenantry.passages
    add column path         text[] not null default '{}',
    add column page         int check (page > 0),
    add column start_offset int,
    add column end_offset   int,
    add constraint passages_offsets_check check (0 <= start_offset and start_offset <= end_offset);

create table tenantry.document_texts (
    tenant_id   text not null default tenantry.current_tenant() check (tenant_id <> ''),
    document_id uuid not null,
    body        text not null,
    primary key (tenant_id, document_id),
    foreign key (tenant_id, document_id) references tenantry.documents on delete cascade
);
alter table tenantry.document_texts enable row level security;
alter table tenantry.document_texts force row level security;
create policy tenant_isolation on tenantry.document_texts to tenantry_app
    using (tenant_id = (select tenantry.current_tenant()))
    with check (tenant_id = (select tenantry.current_tenant()));
create policy owner_erases on tenantry.document_texts to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
grant select, insert, update, delete on tenantry.document_texts to tenantry_app;

-- The same search as before, of more columns.
drop function tenantry.search_passages(text, text, text, text, int);
create function tenantry.search_passages(p_tenant text, p_query text, p_vector text, p_model text,
                                         p_limit int)
    returns table (tenant_id text, passage_id uuid, document_id uuid, title text, body text, score float8,
                   path text[], page int, start_offset int, end_offset int)
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
    select p.tenant_id, p.passage_id, p.document_id, d.title, p.body, f.score,
           p.path, p.page, p.start_offset, p.end_offset
      from fused f
      join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = f.passage_id
      join tenantry.documents d on d.tenant_id = p_tenant and d.document_id = p.document_id
     order by f.score desc, p.passage_id;
end $$;

revoke execute on function tenantry.search_passages(text, text, text, text, int) from public;
grant execute on function tenantry.search_passages(text, text, text, text, int) to tenantry_app;
