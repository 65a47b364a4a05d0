-- Large files are read in the background. What was sent and what has become of it so far are the tenant's; the queue
-- across tenants holds ids only, in a schema that no role but the owner's can reach: functions speak for it.
set local lock_timeout = '5s';

alter table tenantry.documents
    drop constraint documents_status_check,
    add constraint documents_status_check
        check (status in ('queued', 'reading', 'embedding', 'ready', 'failed')),
    add column passages_done  int not null default 0 check (passages_done >= 0), -- of those of a document not ready yet
    add column passages_total int not null default 0 check (passages_total >= 0);

create table tenantry.uploads (
    tenant_id   text not null default tenantry.current_tenant() check (tenant_id <> ''),
    document_id uuid not null,
    name        text not null,
    title       text,
    media_type  text,
    content     bytea not null,
    primary key (tenant_id, document_id),
    foreign key (tenant_id, document_id) references tenantry.documents on delete cascade
);
alter table tenantry.uploads alter column content set storage external; -- most of it is packed already

-- Passages of documents that are not ready: no search sees them.
create table tenantry.staged_passages (
    tenant_id    text not null default tenantry.current_tenant() check (tenant_id <> ''),
    document_id  uuid not null,
    ordinal      int not null,
    passage_id   uuid not null,
    body         text not null,
    embedding    public.vector,
    path         text[] not null default '{}',
    page         int,
    start_offset int,
    end_offset   int,
    primary key (tenant_id, document_id, ordinal),
    foreign key (tenant_id, document_id) references tenantry.documents on delete cascade
);
create index staged_passages_to_embed on tenantry.staged_passages (tenant_id, document_id, ordinal)
    where embedding is null;

do $$
declare
    name text;
begin
    foreach name in array array['uploads', 'staged_passages'] loop
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

create schema jobs;

-- One for each tenant that ever queued a file. Who holds a job may wait for its line, never the other way round.
create table jobs.lines (
    tenant_id text primary key,
    jobs      int not null default 0 check (jobs >= 0),
    served_at timestamptz not null default '-infinity' -- when it last had its turn
);
create index lines_in_turn on jobs.lines (served_at, tenant_id) where jobs > 0;

create table jobs.ingestions (
    tenant_id   text not null,
    document_id uuid not null,
    tries       int not null default 0,  -- that failed because something was away
    deaths      int not null default 0,  -- of processes that held it, since it last came on
    enqueued_at timestamptz not null default now(),
    due_at      timestamptz not null default now(),
    holder      uuid,                    -- who works on it, while the lease lasts
    held_until  timestamptz,
    primary key (tenant_id, document_id),
    check ((holder is null) = (held_until is null))
);
create index ingestions_in_line on jobs.ingestions (tenant_id, due_at, document_id);
create index ingestions_held on jobs.ingestions (tenant_id, held_until) where holder is not null;

-- Queues a document of the tenant; one that is queued already begins anew.
create function tenantry.enqueue_ingestion(p_document uuid) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := tenantry.current_tenant();
begin
    insert into jobs.ingestions (tenant_id, document_id) values (v_tenant, p_document) on conflict do nothing;
    if found then
        insert into jobs.lines as l (tenant_id, jobs) values (v_tenant, 1)
        on conflict (tenant_id) do update set jobs = l.jobs + 1;
    else
        update jobs.ingestions set tries = 0, deaths = 0, due_at = now(), holder = null, held_until = null
         where tenant_id = v_tenant and document_id = p_document;
    end if;
end $$;

-- For the platform, or for one tenant of it: the next job of the active tenant whose last turn is longest ago. A
-- tenant has one turn at a time, so that a thousand jobs of one are to the others as one.
create function tenantry.claim_ingestion(p_platform text, p_only text, p_holder uuid, p_lease_seconds float8)
    returns table (tenant_id text, document_id uuid, tries int, deaths int)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_tenant text;
begin
    if p_platform is distinct from '*' or tenantry.current_tenant() is distinct from p_platform then
        return;
    end if;
    select l.tenant_id into v_tenant
      from jobs.lines l join control.tenants t on t.tenant_id = l.tenant_id and t.status = 'active'
     where l.jobs > 0 and (p_only is null or l.tenant_id = p_only)
       and exists (select from jobs.ingestions j where j.tenant_id = l.tenant_id and j.due_at <= now())
       and not exists (select from jobs.ingestions h
                        where h.tenant_id = l.tenant_id and h.holder is not null and h.held_until > now())
     order by l.served_at, l.tenant_id limit 1 for update of l skip locked;
    -- Asked again now that the line is ours: its row is fresh then, what was seen of its jobs may not be.
    if v_tenant is null or exists (select from jobs.ingestions h where h.tenant_id = v_tenant
                                      and h.holder is not null and h.held_until > now()) then
        return;
    end if;
    update jobs.lines l set served_at = clock_timestamp() where l.tenant_id = v_tenant;
    return query
    update jobs.ingestions j
       set deaths = j.deaths + (j.holder is not null)::int, holder = p_holder,
           held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
     where j.tenant_id = v_tenant and j.document_id = (
               select n.document_id from jobs.ingestions n where n.tenant_id = v_tenant and n.due_at <= now()
                order by n.due_at, n.document_id limit 1 for update skip locked)
    returning j.tenant_id, j.document_id, j.tries, j.deaths;
end $$;

-- Extends the lease of a holder, whose job came on or not; false when it holds it no longer, or its tenant is not
-- served.
create function tenantry.renew_ingestion(p_document uuid, p_holder uuid, p_lease_seconds float8, p_came_on boolean)
    returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update jobs.ingestions
       set held_until = clock_timestamp() + make_interval(secs => p_lease_seconds),
           deaths = case when p_came_on then 0 else deaths end
     where tenant_id = tenantry.current_tenant() and document_id = p_document and holder = p_holder
       and exists (select from control.tenants t
                    where t.tenant_id = tenantry.current_tenant() and t.status = 'active');
    return found;
end $$;

-- Gives a job back to its line: for its next turn, or for a later try.
create function tenantry.put_ingestion_back(p_document uuid, p_holder uuid, p_tries int, p_after_seconds float8)
    returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update jobs.ingestions
       set holder = null, held_until = null, tries = p_tries,
           due_at = case when p_after_seconds > 0 then clock_timestamp() + make_interval(secs => p_after_seconds)
                         else due_at end
     where tenant_id = tenantry.current_tenant() and document_id = p_document and holder = p_holder;
end $$;

-- Ends a document's job, whoever holds it; false when there is none.
create function tenantry.end_ingestion(p_document uuid) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := tenantry.current_tenant();
begin
    delete from jobs.ingestions where tenant_id = v_tenant and document_id = p_document;
    if not found then
        return false;
    end if;
    update jobs.lines set jobs = jobs - 1 where tenant_id = v_tenant;
    return true;
end $$;

-- For the platform: how many jobs of all tenants wait, are worked on or wait for another try, and the age of the
-- oldest in seconds.
create function tenantry.ingestion_figures(p_platform text)
    returns table (waiting bigint, working bigint, postponed bigint, oldest_seconds float8)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select count(*) filter (where not held and due_at <= now()), count(*) filter (where held),
           count(*) filter (where not held and due_at > now()),
           coalesce(extract(epoch from now() - min(enqueued_at)), 0)::float8
      from (select j.due_at, j.enqueued_at, coalesce(j.held_until > now(), false) as held
              from jobs.ingestions j where p_platform = '*' and p_platform = (select tenantry.current_tenant())) jobs;
end;

revoke execute on function tenantry.enqueue_ingestion(uuid), tenantry.end_ingestion(uuid),
    tenantry.claim_ingestion(text, text, uuid, float8), tenantry.renew_ingestion(uuid, uuid, float8, boolean),
    tenantry.put_ingestion_back(uuid, uuid, int, float8), tenantry.ingestion_figures(text) from public;
grant execute on function tenantry.enqueue_ingestion(uuid), tenantry.end_ingestion(uuid),
    tenantry.claim_ingestion(text, text, uuid, float8), tenantry.renew_ingestion(uuid, uuid, float8, boolean),
    tenantry.put_ingestion_back(uuid, uuid, int, float8), tenantry.ingestion_figures(text) to tenantry_app;
