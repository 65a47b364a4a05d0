-- Pages of a sitemap are fetched in the background: a line of each tenant beside that of what is read, so that a slow
-- site holds up no file. A page that is fetched joins the line of what is read.
set local lock_timeout = '5s';

alter table tenantry.documents add column url text check (url <> ''); -- where it was fetched, or will be
create index documents_by_url on tenantry.documents (tenant_id, url) where url is not null;

alter table jobs.ingestions add column to_fetch boolean not null default false;
alter table jobs.lines
    add column fetches    int not null default 0 check (fetches >= 0),  -- not among `jobs`
    add column fetched_at timestamptz not null default '-infinity';
create index lines_to_fetch on jobs.lines (fetched_at, tenant_id) where fetches > 0;
drop index jobs.ingestions_in_line;
create index ingestions_in_line on jobs.ingestions (tenant_id, to_fetch, due_at, document_id);

-- Queues pages of the tenant; one that is queued already stays where it is.
create function tenantry.enqueue_fetches(p_documents uuid[]) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := tenantry.current_tenant();
    v_new    int;
begin
    insert into jobs.ingestions (tenant_id, document_id, to_fetch)
    select v_tenant, d, true from unnest(p_documents) d on conflict do nothing;
    get diagnostics v_new = row_count;
    insert into jobs.lines as l (tenant_id, fetches) values (v_tenant, v_new)
    on conflict (tenant_id) do update set fetches = l.fetches + v_new;
end $$;

-- As `claim_ingestion`, of pages.
create function tenantry.claim_fetch(p_platform text, p_only text, p_holder uuid, p_lease_seconds float8)
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
     where l.fetches > 0 and (p_only is null or l.tenant_id = p_only)
       and exists (select from jobs.ingestions j
                    where j.tenant_id = l.tenant_id and j.to_fetch and j.due_at <= now())
       and not exists (select from jobs.ingestions h where h.tenant_id = l.tenant_id and h.to_fetch
                          and h.holder is not null and h.held_until > now())
     order by l.fetched_at, l.tenant_id limit 1 for update of l skip locked;
    if v_tenant is null or exists (select from jobs.ingestions h where h.tenant_id = v_tenant and h.to_fetch
                                      and h.holder is not null and h.held_until > now()) then
        return;
    end if;
    update jobs.lines l set fetched_at = clock_timestamp() where l.tenant_id = v_tenant;
    return query
    update jobs.ingestions j
       set deaths = j.deaths + (j.holder is not null)::int, holder = p_holder,
           held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
     where j.tenant_id = v_tenant and j.document_id = (
               select n.document_id from jobs.ingestions n
                where n.tenant_id = v_tenant and n.to_fetch and n.due_at <= now()
                order by n.due_at, n.document_id limit 1 for update skip locked)
    returning j.tenant_id, j.document_id, j.tries, j.deaths;
end $$;

-- Moves the job of a page that is fetched to the line of what is read.
create function tenantry.read_fetched(p_document uuid, p_holder uuid) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := tenantry.current_tenant();
begin
    update jobs.ingestions
       set to_fetch = false, tries = 0, deaths = 0, due_at = now(), holder = null, held_until = null
     where tenant_id = v_tenant and document_id = p_document and holder = p_holder and to_fetch;
    if found then
        update jobs.lines set fetches = fetches - 1, jobs = jobs + 1 where tenant_id = v_tenant;
    end if;
end $$;

-- As before, of what is read.
create or replace function tenantry.claim_ingestion(p_platform text, p_only text, p_holder uuid, p_lease_seconds float8)
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
       and exists (select from jobs.ingestions j
                    where j.tenant_id = l.tenant_id and not j.to_fetch and j.due_at <= now())
       and not exists (select from jobs.ingestions h where h.tenant_id = l.tenant_id and not h.to_fetch
                          and h.holder is not null and h.held_until > now())
     order by l.served_at, l.tenant_id limit 1 for update of l skip locked;
    -- Asked again now that the line is ours: its row is fresh then, what was seen of its jobs may not be.
    if v_tenant is null or exists (select from jobs.ingestions h where h.tenant_id = v_tenant and not h.to_fetch
                                      and h.holder is not null and h.held_until > now()) then
        return;
    end if;
    update jobs.lines l set served_at = clock_timestamp() where l.tenant_id = v_tenant;
    return query
    update jobs.ingestions j
       set deaths = j.deaths + (j.holder is not null)::int, holder = p_holder,
           held_until = clock_timestamp() + make_interval(secs => p_lease_seconds)
     where j.tenant_id = v_tenant and j.document_id = (
               select n.document_id from jobs.ingestions n
                where n.tenant_id = v_tenant and not n.to_fetch and n.due_at <= now()
                order by n.due_at, n.document_id limit 1 for update skip locked)
    returning j.tenant_id, j.document_id, j.tries, j.deaths;
end $$;

-- As before, whichever line it is of.
create or replace function tenantry.end_ingestion(p_document uuid) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_tenant text := tenantry.current_tenant();
    v_fetch  int;
begin
    delete from jobs.ingestions where tenant_id = v_tenant and document_id = p_document
    returning to_fetch::int into v_fetch;
    if not found then
        return false;
    end if;
    update jobs.lines set jobs = jobs - (1 - v_fetch), fetches = fetches - v_fetch where tenant_id = v_tenant;
    return true;
end $$;

-- As before: of what is read.
create or replace function tenantry.ingestion_figures(p_platform text)
    returns table (waiting bigint, working bigint, postponed bigint, oldest_seconds float8)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select count(*) filter (where not held and due_at <= now()), count(*) filter (where held),
           count(*) filter (where not held and due_at > now()),
           coalesce(extract(epoch from now() - min(enqueued_at)), 0)::float8
      from (select j.due_at, j.enqueued_at, coalesce(j.held_until > now(), false) as held
              from jobs.ingestions j
             where not j.to_fetch and p_platform = '*' and p_platform = (select tenantry.current_tenant())) jobs;
end;

-- For the platform: how many pages of all tenants are to be fetched.
create function tenantry.pages_to_fetch(p_platform text) returns bigint
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select count(*) from jobs.ingestions j
     where j.to_fetch and p_platform = '*' and p_platform = (select tenantry.current_tenant());
end;

revoke execute on function tenantry.enqueue_fetches(uuid[]), tenantry.claim_fetch(text, text, uuid, float8),
    tenantry.read_fetched(uuid, uuid), tenantry.pages_to_fetch(text) from public;
grant execute on function tenantry.enqueue_fetches(uuid[]), tenantry.claim_fetch(text, text, uuid, float8),
    tenantry.read_fetched(uuid, uuid), tenantry.pages_to_fetch(text) to tenantry_app;
