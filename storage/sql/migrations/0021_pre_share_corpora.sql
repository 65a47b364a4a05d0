-- Documents that every tenant may subscribe to. A corpus is a tenant of its own, made for it: its documents have their
-- own limits, cell and index, and it is read as any tenant is, on behalf of those who subscribe.
set local lock_timeout = '5s';

create table control.corpora (
    corpus_id  text primary key references control.tenants (tenant_id) on delete cascade,
    title      text not null check (length(title) between 1 and 200),
    created_at timestamptz not null default now()
);

create table control.subscriptions (
    tenant_id  text not null references control.tenants on delete cascade,
    corpus_id  text not null references control.corpora on delete cascade,
    created_at timestamptz not null default now(),
    primary key (tenant_id, corpus_id),
    check (tenant_id <> corpus_id)
);
create index subscriptions_of_corpus on control.subscriptions (corpus_id);

create trigger announce after insert or update or delete on control.corpora
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.subscriptions
    for each statement execute function control.announce();

-- All corpora, and whether the tenant subscribes to each. A row for every tenant that is there, and for nobody else.
create function tenantry.corpus_records(p_tenant text) returns table (corpora jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select (select coalesce(jsonb_agg(jsonb_build_object(
                       'corpus_id', c.corpus_id, 'title', c.title, 'subscribed', s.tenant_id is not null)
                       order by c.corpus_id), '[]')
              from control.corpora c
              join control.tenants of on of.tenant_id = c.corpus_id and of.status = 'active'
              left join control.subscriptions s on s.corpus_id = c.corpus_id and s.tenant_id = t.tenant_id)
      from control.tenants t where t.tenant_id = p_tenant and p_tenant = (select tenantry.current_tenant());
end;

-- Subscribes a tenant: 'done', 'missing' for no such corpus, 'full' for one too many. A corpus reads no other.
create function control.subscribe(p_tenant text, p_corpus text, p_most int) returns text
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    select t.tenant_id from control.tenants t where t.tenant_id = p_tenant for update;
    with allowed as (
        select (select count(*) from control.subscriptions s where s.tenant_id = p_tenant and s.corpus_id <> p_corpus)
               < p_most as room
          from control.corpora c
         where c.corpus_id = p_corpus and not exists (select from control.corpora o where o.corpus_id = p_tenant)
    ), made as (
        insert into control.subscriptions (tenant_id, corpus_id)
        select p_tenant, p_corpus from allowed a where a.room
        on conflict (tenant_id, corpus_id) do nothing
    )
    select coalesce((select case when a.room then 'done' else 'full' end from allowed a), 'missing');
end;

create function control.unsubscribe(p_tenant text, p_corpus text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from control.subscriptions s where s.tenant_id = p_tenant and s.corpus_id = p_corpus returning true;
end;

-- For the admins of a tenant.
create function tenantry.subscribe(p_corpus text, p_most int) returns text
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    select control.subscribe(tenantry.current_tenant(), p_corpus, p_most);
end;

create function tenantry.unsubscribe(p_corpus text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    select control.unsubscribe(tenantry.current_tenant(), p_corpus);
end;

revoke execute on all functions in schema control from public;
revoke execute on function tenantry.corpus_records(text), tenantry.subscribe(text, int),
                           tenantry.unsubscribe(text) from public;
grant execute on function tenantry.corpus_records(text), tenantry.subscribe(text, int),
                          tenantry.unsubscribe(text) to tenantry_app;
