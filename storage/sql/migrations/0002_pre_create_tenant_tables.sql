-- Tenant tables. Each key leads with the tenant; row-level security binds the owner too.
set local lock_timeout = '5s';

create table tenantry.threads (
    tenant_id    text not null default tenantry.current_tenant() check (tenant_id <> ''),
    thread_id    uuid not null,
    subject_id   text not null,
    title        text not null default '',
    created_at   timestamptz not null default now(),
    updated_at   timestamptz not null default now(),
    lease_run_id uuid,                          -- the one run that may write to the thread
    fence        bigint not null default 0,     -- grows with every lease: an old holder is locked out
    lease_until  timestamptz,
    primary key (tenant_id, thread_id)
);
create index threads_recent on tenantry.threads (tenant_id, updated_at desc, thread_id desc);
create index threads_recent_of_subject
    on tenantry.threads (tenant_id, subject_id, updated_at desc, thread_id desc);

create table tenantry.runs (
    tenant_id       text not null default tenantry.current_tenant() check (tenant_id <> ''),
    run_id          uuid not null,
    thread_id       uuid not null,
    subject_id      text not null,
    status          text not null default 'running'
                    check (status in ('running', 'success', 'error', 'interrupted', 'cancelled')),
    idempotency_key text,
    request_digest  bytea,
    result          jsonb,
    input_tokens    bigint not null default 0,
    output_tokens   bigint not null default 0,
    created_at      timestamptz not null default now(),
    finished_at     timestamptz,
    primary key (tenant_id, run_id),
    foreign key (tenant_id, thread_id) references tenantry.threads on delete cascade
);
create unique index runs_idempotent on tenantry.runs (tenant_id, subject_id, idempotency_key)
    where idempotency_key is not null;
create index runs_of_thread on tenantry.runs (tenant_id, thread_id);

create table tenantry.documents (
    tenant_id       text not null default tenantry.current_tenant() check (tenant_id <> ''),
    document_id     uuid not null,
    subject_id      text not null,
    title           text not null,
    media_type      text not null,
    size            bigint not null,
    sha256          bytea not null check (length(sha256) = 32),
    passages        int not null,
    embedding_model text not null,
    status          text not null check (status in ('queued', 'ready', 'failed')),
    error           text,
    created_at      timestamptz not null default now(),
    primary key (tenant_id, document_id)
);
create unique index documents_by_content on tenantry.documents (tenant_id, sha256);
create index documents_recent on tenantry.documents (tenant_id, created_at desc, document_id desc);

create table tenantry.passages (
    tenant_id       text not null default tenantry.current_tenant() check (tenant_id <> ''),
    passage_id      uuid not null,
    document_id     uuid not null,
    ordinal         int not null,
    body            text not null,
    embedding_model text not null,
    embedding       public.vector not null,
    lexemes         tsvector not null generated always as (to_tsvector('english', body)) stored,
    primary key (tenant_id, passage_id),
    foreign key (tenant_id, document_id) references tenantry.documents on delete cascade
);
-- Inline while a row fits its page (exact scans are up to 3.6 times slower from TOAST), out of line
-- only when it must be (3,072 dimensions).
alter table tenantry.passages alter column embedding set storage main;
create unique index passages_of_document on tenantry.passages (tenant_id, document_id, ordinal);

create table tenantry.usage_events (
    tenant_id  text not null default tenantry.current_tenant() check (tenant_id <> ''),
    event_id   uuid not null,
    meter      text not null,
    quantity   bigint not null check (quantity >= 0),
    model      text not null default '',
    run_id     uuid,
    subject_id text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, event_id)
);
create index usage_events_in_time on tenantry.usage_events (tenant_id, created_at);

create table tenantry.audit_events (
    tenant_id  text not null default tenantry.current_tenant() check (tenant_id <> ''),
    event_id   uuid not null,
    actor      text not null,
    subject_id text not null,
    action     text not null,
    resource   text not null default '',
    outcome    text not null check (outcome in ('allowed', 'refused', 'failed')),
    run_id     uuid,
    thread_id  uuid,
    attributes jsonb not null default '{}',
    created_at timestamptz not null default now(),
    -- filled by the sealer, which links and signs what was inserted unchained
    sequence      bigint,
    previous_hash bytea,
    hash          bytea,
    signature     bytea,
    signed_by     text,
    primary key (tenant_id, event_id)
);
create index audit_events_in_time on tenantry.audit_events (tenant_id, created_at desc, event_id desc);
create unique index audit_events_sealed on tenantry.audit_events (tenant_id, sequence)
    where sequence is not null;

create table tenantry.checkpoints (
    tenant_id            text not null default tenantry.current_tenant() check (tenant_id <> ''),
    thread_id            text not null,
    checkpoint_ns        text not null default '',
    checkpoint_id        text not null,
    parent_checkpoint_id text,
    type                 text,
    checkpoint           jsonb not null,
    metadata             jsonb not null default '{}',
    created_at           timestamptz not null default now(),
    primary key (tenant_id, thread_id, checkpoint_ns, checkpoint_id)
);
create table tenantry.checkpoint_blobs (
    tenant_id     text not null default tenantry.current_tenant() check (tenant_id <> ''),
    thread_id     text not null,
    checkpoint_ns text not null default '',
    channel       text not null,
    version       text not null,
    type          text not null,
    blob          bytea,
    primary key (tenant_id, thread_id, checkpoint_ns, channel, version)
);
create table tenantry.checkpoint_writes (
    tenant_id     text not null default tenantry.current_tenant() check (tenant_id <> ''),
    thread_id     text not null,
    checkpoint_ns text not null default '',
    checkpoint_id text not null,
    task_id       text not null,
    idx           int not null,
    channel       text not null,
    type          text,
    blob          bytea not null,
    task_path     text not null default '',
    primary key (tenant_id, thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);

do $$
declare
    name text;
begin
    foreach name in array array['threads', 'runs', 'documents', 'passages', 'usage_events',
                                'audit_events', 'checkpoints', 'checkpoint_blobs',
                                'checkpoint_writes'] loop
        execute format('alter table tenantry.%I enable row level security', name);
        execute format('alter table tenantry.%I force row level security', name);
        execute format('create policy tenant_isolation on tenantry.%I to tenantry_app
                        using (tenant_id = (select tenantry.current_tenant()))
                        with check (tenant_id = (select tenantry.current_tenant()))', name);
        execute format('grant select, insert on tenantry.%I to tenantry_app', name);
        if name not in ('usage_events', 'audit_events') then
            execute format('grant update, delete on tenantry.%I to tenantry_app', name);
        end if;
    end loop;
end $$;

create policy operator_reads on tenantry.usage_events for select to tenantry_operator using (true);
create policy operator_reads on tenantry.audit_events for select to tenantry_operator using (true);
grant select on tenantry.usage_events, tenantry.audit_events to tenantry_operator;
