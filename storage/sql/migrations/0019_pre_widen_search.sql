-- Large tenants find passages by word in lists that are kept for them: a word, and who has it, most telling first.
-- A tsvector's own index cannot serve: row-level security lets a condition that could leak see no row before the
-- policy has, and `@@` is one. Equality of text is not.
set local lock_timeout = '5s';

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

-- The same as rank_by_word, from the lists: the two hundred passages with the most of the telling words, and of what is
-- not listed yet, are ranked by all words. Of a rare word (weight 3: one passage in twenty has it) three blocks are read,
-- of others one, and none of those that more than a third have, unless no other was asked for. What is not listed is read
-- first, so that what becomes listed meanwhile is found in one of the two.
create function tenantry.rank_by_list(p_tenant text, p_words text[], p_any tsquery) returns uuid[]
    language plpgsql set plan_cache_mode = force_custom_plan as $$
declare
    v_new uuid[] := array(
        select p.passage_id
          from tenantry.documents d join tenantry.passages p on p.tenant_id = p_tenant and p.document_id = d.document_id
         where d.tenant_id = p_tenant and not d.word_listed and p.lexemes @@ p_any
         order by ts_rank(p.lexemes, p_any, 1) desc, p.passage_id limit 200);
    v_known float8 := (select sum(l.passages) from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '');
begin
    return array(
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
             group by e.passage_id order by score desc, e.passage_id limit 200
        ), candidates as materialized (
            select p.passage_id, setweight(p.lexemes, 'D') as lexemes
              from (select passage_id from foremost union select unnest(v_new)) c
              join tenantry.passages p on p.tenant_id = p_tenant and p.passage_id = c.passage_id
        )
        select c.passage_id
          from candidates c, lateral (select sum(w.weight * ts_rank(c.lexemes, w.query, 1)) as score from weights w) s
         order by s.score desc, c.passage_id limit 50);
end $$;

-- As before; of a tenant whose words are listed, from the lists.
create or replace function tenantry.rank_by_word(p_tenant text, p_question text) returns uuid[]
    language plpgsql set plan_cache_mode = force_custom_plan as $$
declare
    few     constant int := 5000;
    v_known float8 := (select sum(d.passages) from tenantry.documents d where d.tenant_id = p_tenant);
    v_all   constant text[] := tsvector_to_array(to_tsvector('english', tenantry.searchable(p_question)));
    v_words tsquery[] := array(select tenantry.word_query(word) from unnest(v_all) word);
    v_any   tsquery := (select string_agg(word::text, '|')::tsquery from unnest(v_words) word);
begin
    if v_any is null then
        return '{}';
    elsif v_known > few then
        if exists (select from tenantry.word_lists l where l.tenant_id = p_tenant and l.word = '') then
            return tenantry.rank_by_list(p_tenant, v_all, v_any);
        end if;
        return array(
            select p.passage_id from tenantry.passages p
             where p.tenant_id = p_tenant and p.lexemes @@ v_any
             order by ts_rank(p.lexemes, v_any, 1) desc, p.passage_id limit 50);
    end if;
    return array(
        with matched as materialized ( -- a copy of the lexemes: each is read once from where it lies, not once a word
            select c.passage_id, c.lexemes
              from (select p.passage_id, setweight(p.lexemes, 'D') as lexemes from tenantry.passages p
                     where p.tenant_id = p_tenant offset 0) c
             where c.lexemes @@ v_any
        ), frequencies as materialized (
            select word, (select count(*) from matched m where m.lexemes @@ word) as known from unnest(v_words) word
        ), weights as materialized (
            select word, ln(1 + (greatest(v_known, known) - known + 0.5) / (known + 0.5)) as weight from frequencies
        )
        select m.passage_id
          from matched m, lateral (select sum(w.weight * ts_rank(m.lexemes, w.word, 1)) as score from weights w) s
         order by s.score desc, m.passage_id limit 50);
end $$;

revoke execute on function tenantry.word_query(text), tenantry.forget_words(text), tenantry.list_words(text, boolean),
    tenantry.rank_by_list(text, text[], tsquery) from public;
grant execute on function tenantry.word_query(text), tenantry.forget_words(text), tenantry.list_words(text, boolean),
    tenantry.rank_by_list(text, text[], tsquery) to tenantry_app;
