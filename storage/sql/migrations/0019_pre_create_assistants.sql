-- How assistants speak: what the deployment, a tenant, its assistants and its users say of it.
set local lock_timeout = '5s';

-- Of the whole deployment. The empty name is the platform's own; any other is that of a plan.
create table control.profiles (
    name text primary key,
    says jsonb not null check (jsonb_typeof(says) = 'object')
);

-- Assistants that every tenant sees. The version grows with each change, so that runs can name what they used.
create table control.universal_assistants (
    slug       text primary key check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$' and slug <> 'default'),
    version    int not null default 1,
    content    jsonb not null check (jsonb_typeof(content) = 'object'),
    changed_at timestamptz not null default now()
);

create trigger announce after insert or update or delete on control.profiles
    for each statement execute function control.announce();
create trigger announce after insert or update or delete on control.universal_assistants
    for each statement execute function control.announce();

create table tenantry.assistants (
    tenant_id    text not null default tenantry.current_tenant() check (tenant_id <> ''),
    assistant_id uuid not null,
    slug         text not null check (slug ~ '^[a-z0-9][a-z0-9_-]{0,62}$' and slug <> 'default'),
    draft        jsonb not null check (jsonb_typeof(draft) = 'object'),
    published    int,                           -- the version in use; null before the first
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    primary key (tenant_id, assistant_id)
);
create unique index assistants_by_slug on tenantry.assistants (tenant_id, slug);
create index assistants_recent on tenantry.assistants (tenant_id, created_at desc, assistant_id desc);

-- What was published: no statement of ours changes it.
create table tenantry.assistant_versions (
    tenant_id    text not null default tenantry.current_tenant() check (tenant_id <> ''),
    assistant_id uuid not null,
    version      int not null check (version > 0),
    content      jsonb not null check (jsonb_typeof(content) = 'object'),
    subject_id   text not null,
    created_at   timestamptz not null default now(),
    primary key (tenant_id, assistant_id, version),
    foreign key (tenant_id, assistant_id) references tenantry.assistants on delete cascade
);

create table tenantry.user_preferences (
    tenant_id  text not null default tenantry.current_tenant() check (tenant_id <> ''),
    subject_id text not null check (subject_id <> ''),
    says       jsonb not null check (jsonb_typeof(says) = 'object'),
    primary key (tenant_id, subject_id)
);

alter table tenantry.assistants enable row level security;
alter table tenantry.assistants force row level security;
alter table tenantry.assistant_versions enable row level security;
alter table tenantry.assistant_versions force row level security;
alter table tenantry.user_preferences enable row level security;
alter table tenantry.user_preferences force row level security;
create policy tenant_isolation on tenantry.assistants to tenantry_app
    using (tenant_id = (select tenantry.current_tenant()))
    with check (tenant_id = (select tenantry.current_tenant()));
create policy tenant_isolation on tenantry.assistant_versions to tenantry_app
    using (tenant_id = (select tenantry.current_tenant()))
    with check (tenant_id = (select tenantry.current_tenant()));
create policy tenant_isolation on tenantry.user_preferences to tenantry_app
    using (tenant_id = (select tenantry.current_tenant()))
    with check (tenant_id = (select tenantry.current_tenant()));
create policy owner_erases on tenantry.assistants to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.assistant_versions to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.user_preferences to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
grant select, insert, update, delete
    on tenantry.assistants, tenantry.assistant_versions, tenantry.user_preferences to tenantry_app;

-- What a run must know of its user and its assistant, in one trip. No assistant: only the user's.
create function tenantry.who_speaks(p_tenant text, p_subject text, p_assistant text, p_draft boolean)
    returns table (preferences jsonb, assistant_id uuid, slug text, version int, content jsonb)
    language plpgsql as $$
begin
    perform set_config('app.tenant_id', p_tenant, true);
    return query
    select (select u.says from tenantry.user_preferences u
             where u.tenant_id = p_tenant and u.subject_id = p_subject),
           a.assistant_id, a.slug, v.version, case when p_draft then a.draft else v.content end
      from (select 1) one
      left join tenantry.assistants a
        on a.tenant_id = p_tenant and (a.slug = p_assistant or a.assistant_id::text = p_assistant)
      left join tenantry.assistant_versions v
        on v.tenant_id = p_tenant and v.assistant_id = a.assistant_id and v.version = a.published and not p_draft
     order by a.assistant_id::text = p_assistant desc nulls last limit 1;
end $$;

-- Which assistant spoke in a run: the id of the tenant's own, the slug of one that every tenant sees, null for
-- the default one. A draft has no version.
alter table tenantry.runs add column assistant text, add column assistant_version int;

-- Opens a run as `open_run` does, and says who speaks in it. The answer to an interrupt goes on with the assistant
-- that asked. `p_universal` has the version of each that every tenant sees; outcome unknown: there is no such one.
create function tenantry.open_run_as(p_tenant text, p_run uuid, p_thread uuid, p_new_thread boolean,
                                     p_subject text, p_sees_all boolean, p_lease_seconds float8,
                                     p_key text, p_digest bytea,
                                     p_assistant text, p_draft boolean, p_goes_on boolean, p_universal jsonb)
    returns table (outcome text, fence bigint, result jsonb,
                   preferences jsonb, assistant text, version int, content jsonb)
    language plpgsql as $$
#variable_conflict use_column
declare
    v_name   text := p_assistant;
    v_draft  boolean := p_draft;
    v_asked  record;
    v_who    record;
    v_opened record;
    v_assistant text;
    v_version   int;
begin
    perform set_config('app.tenant_id', p_tenant, true);
    if p_goes_on then
        select r.assistant, r.assistant_version into v_asked from tenantry.runs r
         where r.tenant_id = p_tenant and r.thread_id = p_thread and r.status = 'interrupted'
         order by r.created_at desc limit 1;
        v_name := coalesce(v_asked.assistant, p_assistant);
        v_draft := p_draft and v_asked.assistant_version is null;
    end if;
    select * into v_who from tenantry.who_speaks(p_tenant, p_subject, v_name, v_draft);
    v_assistant := v_who.assistant_id::text;
    v_version := v_who.version;
    if v_who.content is null then
        v_assistant := case when not v_draft and p_universal ? v_name then v_name end;
        v_version := (p_universal ->> v_assistant)::int;
        if v_assistant is null and v_name <> 'default' and not p_goes_on then
            return query select 'unknown', null::bigint, null::jsonb, null::jsonb, null, null::int, null::jsonb;
            return;
        end if;
    end if;
    select * into v_opened from tenantry.open_run(p_tenant, p_run, p_thread, p_new_thread, p_subject, p_sees_all,
                                                  p_lease_seconds, p_key, p_digest);
    if v_opened.outcome = 'opened' and v_assistant is not null then
        update tenantry.runs r set assistant = v_assistant, assistant_version = v_version
         where r.tenant_id = p_tenant and r.run_id = p_run;
    end if;
    return query select v_opened.outcome, v_opened.fence, v_opened.result,
                        v_who.preferences, v_assistant, v_version, v_who.content;
end $$;

-- What the tenant says of all its assistants is a part of its record: every process knows it within a second.
create function tenantry.put_profile(p_says jsonb) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    update control.tenants set preferences = p_says where tenant_id = (select tenantry.current_tenant())
    returning true;
end;

-- What the deployment says, for the platform alone: no row for anybody else.
create function tenantry.platform_profiles(p_platform text) returns table (profiles jsonb, assistants jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select (select coalesce(jsonb_object_agg(p.name, p.says), '{}') from control.profiles p),
           (select coalesce(jsonb_object_agg(a.slug, jsonb_build_object('version', a.version, 'content', a.content)),
                            '{}') from control.universal_assistants a)
     where p_platform = '*' and p_platform = (select tenantry.current_tenant());
end;

-- For operators, by HTTP and at the terminal.
create function control.list_profiles() returns table (name text, says jsonb)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select p.name, p.says from control.profiles p order by p.name;
end;

-- Null for a plan that there is none of.
create function control.put_profile(p_name text, p_says jsonb) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.profiles (name, says)
    select p_name, p_says where p_name = '' or exists (select from control.plans p where p.plan_id = p_name)
    on conflict (name) do update set says = excluded.says
    returning true;
end;

create function control.list_universal_assistants()
    returns table (slug text, version int, content jsonb, changed_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select a.slug, a.version, a.content, a.changed_at from control.universal_assistants a order by a.slug;
end;

-- Its version; null where there are as many as every process may know by heart.
create function control.put_universal_assistant(p_slug text, p_content jsonb, p_most int) returns int
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.universal_assistants as a (slug, content)
    select p_slug, p_content
     where (select count(*) from control.universal_assistants u where u.slug <> p_slug) < p_most
    on conflict (slug) do update set content = excluded.content, version = a.version + 1, changed_at = now()
    returning version;
end;

create function control.remove_universal_assistant(p_slug text) returns boolean
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from control.universal_assistants where slug = p_slug returning true;
end;

revoke execute on all functions in schema control from public;
revoke execute on function tenantry.put_profile(jsonb), tenantry.platform_profiles(text),
    tenantry.who_speaks(text, text, text, boolean),
    tenantry.open_run_as(text, uuid, uuid, boolean, text, boolean, float8, text, bytea, text, boolean, boolean, jsonb)
    from public;
grant execute on function tenantry.put_profile(jsonb), tenantry.platform_profiles(text),
    tenantry.who_speaks(text, text, text, boolean),
    tenantry.open_run_as(text, uuid, uuid, boolean, text, boolean, float8, text, bytea, text, boolean, boolean, jsonb)
    to tenantry_app;
grant execute on function control.list_profiles(), control.put_profile(text, jsonb),
    control.list_universal_assistants(), control.put_universal_assistant(text, jsonb, int),
    control.remove_universal_assistant(text) to tenantry_operator;
