-- The owner erases a tenant: it enters that one, like the app, and sees and deletes its rows, usage and audit
-- among them. It can neither write nor change a row.
set local lock_timeout = '5s';

create policy owner_erases on tenantry.audit_events to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.checkpoint_blobs to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.checkpoint_writes to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.checkpoints to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.documents to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.passages to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.runs to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.threads to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
create policy owner_erases on tenantry.usage_events to current_user
    using (tenant_id = (select tenantry.current_tenant())) with check (false);
