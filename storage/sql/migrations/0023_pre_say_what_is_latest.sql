-- A copy of a thread's latest checkpoint is one of the checkpoint that Postgres says is the latest.
set local lock_timeout = '5s';

-- The latest checkpoint of a thread, if nothing waits on it. Not `stable`: whoever opened a run waited, perhaps, for
-- the commit of the one before, and has to see it.
create function tenantry.settled_checkpoint(p_tenant text, p_thread text) returns text
    language plpgsql as $$
declare
    v_id text := (select max(c.checkpoint_id) from tenantry.checkpoints c
                   where c.tenant_id = p_tenant and c.thread_id = p_thread and c.checkpoint_ns = '');
begin
    perform from tenantry.checkpoint_writes w
      where w.tenant_id = p_tenant and w.thread_id = p_thread and w.checkpoint_ns = '' and w.checkpoint_id = v_id;
    return case when not found then v_id end;
end $$;

revoke execute on function tenantry.settled_checkpoint(text, text) from public;
grant execute on function tenantry.settled_checkpoint(text, text) to tenantry_app;
