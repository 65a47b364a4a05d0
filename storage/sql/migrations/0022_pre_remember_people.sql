-- Long-term memory: what an agent remembers of a person, and what a tenant has all its people's agents know.
set local lock_timeout = '5s';

-- `namespace` and `key` name it in its owner's store; those of the namespace {memories} are shown to models, as `text`.
create table tenantry.memories (
    tenant_id       text not null default tenantry.current_tenant() check (tenant_id <> ''),
    memory_id       uuid not null,
    subject_id      text check (subject_id <> ''), -- null: the tenant's own
    namespace       text[] not null default '{memories}',
    key             text not null,
    value           jsonb not null check (jsonb_typeof(value) = 'object'),
    embedding_model text not null default '',
    embedding       public.vector,                 -- null: there is no text to find it by
    thread_id       uuid,                          -- where it was said, if a run wrote it
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    primary key (tenant_id, memory_id)
);
alter table tenantry.memories alter column embedding set storage main;
create unique index memories_by_name on tenantry.memories (tenant_id, coalesce(subject_id, ''), namespace, key);

-- What people say of their own memory; who never said anything has no row.
create table tenantry.memory_switches (
    tenant_id  text not null default tenantry.current_tenant() check (tenant_id <> ''),
    subject_id text not null check (subject_id <> ''),
    enabled    boolean not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, subject_id)
);

do $$
declare
    name text;
begin
    foreach name in array array['memories', 'memory_switches'] loop
        execute format('alter table tenantry.%I enable row level security', name);
        execute format('alter table tenantry.%I force row level security', name);
        execute format('create policy tenant_isolation on tenantry.%I to tenantry_app
                        using (tenant_id = (select tenantry.current_tenant()))
                        with check (tenant_id = (select tenantry.current_tenant()))', name);
        execute format('create policy owner_erases on tenantry.%I to current_user
                        using (tenant_id = (select tenantry.current_tenant())) with check (false)', name);
        execute format('grant select, insert, update, delete on tenantry.%I to tenantry_app', name);
    end loop;
end $$;

create function tenantry.remembers(p_tenant text, p_subject text) returns boolean
    language plpgsql stable as $$
begin
    return coalesce((select s.enabled from tenantry.memory_switches s
                      where s.tenant_id = p_tenant and s.subject_id = p_subject), true);
end $$;

-- The memories of a person and of its tenant nearest to a question, or without a vector the latest; none for a person
-- who switched memory off, unless it is that person who looks (`p_anyway`). Those of another embedding model come last: they cannot be compared.
create function tenantry.recall_memories(p_tenant text, p_subject text, p_model text, p_vector text, p_limit int,
                                         p_anyway boolean)
    returns table (tenant_id text, memory_id uuid, subject_id text, text text, created_at timestamptz,
                   updated_at timestamptz, distance float8)
    language plpgsql set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
    v_vector public.vector := p_vector::public.vector;
begin
    if not (p_anyway or tenantry.remembers(p_tenant, p_subject)) then
        return;
    end if;
    return query
    select m.tenant_id, m.memory_id, m.subject_id, m.value->>'text', m.created_at, m.updated_at,
           case when m.embedding_model = p_model and public.vector_dims(m.embedding) = public.vector_dims(v_vector)
                then m.embedding operator(public.<=>) v_vector end as distance
      from tenantry.memories m
     where m.tenant_id = p_tenant and coalesce(m.subject_id, '') in ('', p_subject) and m.namespace = '{memories}'
     order by distance nulls last, m.updated_at desc, m.memory_id limit p_limit;
end $$;

-- What a run is told of memory when it opens: off, empty, or some.
create function tenantry.memory_of(p_tenant text, p_subject text) returns text
    language plpgsql stable as $$
begin
    if not tenantry.remembers(p_tenant, p_subject) then
        return 'off';
    elsif exists (select from tenantry.memories m
                   where m.tenant_id = p_tenant and coalesce(m.subject_id, '') in ('', p_subject)
                     and m.namespace = '{memories}') then
        return 'some';
    end if;
    return 'empty';
end $$;

revoke execute on function tenantry.remembers(text, text), tenantry.memory_of(text, text),
    tenantry.recall_memories(text, text, text, text, int, boolean) from public;
grant execute on function tenantry.remembers(text, text), tenantry.memory_of(text, text),
    tenantry.recall_memories(text, text, text, text, int, boolean) to tenantry_app;

-- As shipped.
update control.plan_limits set limits = '{"memories": 1000}' || limits where plan_id = 'pro';
