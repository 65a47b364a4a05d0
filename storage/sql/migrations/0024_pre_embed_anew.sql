-- Vectors of the next embedding model, until all of a tenant's passages have one: then they change places at once.
set local lock_timeout = '5s';

create table tenantry.next_vectors (
    tenant_id       text not null default tenantry.current_tenant() check (tenant_id <> ''),
    passage_id      uuid not null,
    embedding_model text not null,
    embedding       public.vector not null,
    primary key (tenant_id, passage_id),
    foreign key (tenant_id, passage_id) references tenantry.passages on delete cascade
);
alter table tenantry.next_vectors alter column embedding set storage main;
alter table tenantry.next_vectors enable row level security;
alter table tenantry.next_vectors force row level security;
create policy tenant_isolation on tenantry.next_vectors to tenantry_app
    using (tenant_id = (select tenantry.current_tenant())) with check (tenant_id = (select tenantry.current_tenant()));
create policy owner_erases on tenantry.next_vectors to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
grant select, insert, update, delete on tenantry.next_vectors to tenantry_app;
