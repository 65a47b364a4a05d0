-- A key is rotated: another takes its place, and it ends after an overlap. A key says when it was last used.
set local lock_timeout = '5s';

alter table control.api_keys add column replaced_by uuid references control.api_keys;

-- Beside the keys, whose every change is announced to all servers: a use is none.
create table control.key_uses (
    key_id       uuid primary key references control.api_keys on delete cascade,
    last_used_at timestamptz not null
);

-- list_keys, with what is new. Beside it and not in its place: a server of before has prepared plans.
create function tenantry.page_of_keys(p_limit int, p_after_time timestamptz, p_after_id uuid)
    returns table (key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamptz,
                   expires_at timestamptz, revoked_at timestamptz, replaced_by uuid, last_used_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select k.key_id, k.tenant_id, k.subject_id, k.role, k.scopes, k.created_at,
           k.expires_at, k.revoked_at, k.replaced_by, u.last_used_at
      from control.api_keys k left join control.key_uses u using (key_id)
     where k.tenant_id = (select tenantry.current_tenant())
       and (p_after_id is null or (k.created_at, k.key_id) > (p_after_time, p_after_id))
     order by k.created_at, k.key_id limit p_limit;
end;

create function tenantry.find_key(p_key_id uuid)
    returns table (key_id uuid, tenant_id text, subject_id text, role text, scopes text[], created_at timestamptz,
                   expires_at timestamptz, revoked_at timestamptz, replaced_by uuid, last_used_at timestamptz)
    language sql stable security definer set search_path = pg_catalog, pg_temp
begin atomic
    select k.key_id, k.tenant_id, k.subject_id, k.role, k.scopes, k.created_at,
           k.expires_at, k.revoked_at, k.replaced_by, u.last_used_at
      from control.api_keys k left join control.key_uses u using (key_id)
     where k.key_id = p_key_id and k.tenant_id = (select tenantry.current_tenant());
end;

-- `outcome` is rotated, missing, ended (expired, or revoked in any way) or replaced. A replaced key is not
-- rotated again: its end was moved, and its lifetime could not be told any more.
create function tenantry.rotate_key(p_key_id uuid, p_new_id uuid, p_digest bytea, p_overlap_seconds float8)
    returns table (outcome text, created_at timestamptz, expires_at timestamptz, old_expires_at timestamptz)
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_old control.api_keys;
    v_end timestamptz;
begin
    select * into v_old from control.api_keys k
     where k.key_id = p_key_id and k.tenant_id = tenantry.current_tenant() for update;
    if not found then
        return query select 'missing', null::timestamptz, null::timestamptz, null::timestamptz; return;
    elsif v_old.replaced_by is not null then
        return query select 'replaced', null::timestamptz, null::timestamptz, null::timestamptz; return;
    elsif v_old.revoked_at is not null or v_old.expires_at <= now() or exists (
              select from control.revocations r
               where r.tenant_id = v_old.tenant_id and r.token_id = ''
                 and r.subject_id in ('', v_old.subject_id) and r.revoked_at >= v_old.created_at) then
        return query select 'ended', null::timestamptz, null::timestamptz, null::timestamptz; return;
    end if;
    insert into control.api_keys (key_id, tenant_id, digest, subject_id, role, scopes, expires_at)
    values (p_new_id, v_old.tenant_id, p_digest, v_old.subject_id, v_old.role, v_old.scopes,
            now() + (v_old.expires_at - v_old.created_at));
    v_end := least(v_old.expires_at, now() + make_interval(secs => p_overlap_seconds));
    update control.api_keys k set expires_at = v_end, replaced_by = p_new_id where k.key_id = p_key_id;
    return query select 'rotated', k.created_at, k.expires_at, v_end
                   from control.api_keys k where k.key_id = p_new_id;
end $$;

-- When keys were last used, in seconds before now: forward only, and never into the future. For the
-- platform alone, which is sealed like a tenant. In one order, so that two servers never block each other.
create function tenantry.note_key_uses(p_platform text, p_keys uuid[], p_ages float8[]) returns void
    language sql security definer set search_path = pg_catalog, pg_temp
begin atomic
    insert into control.key_uses as u (key_id, last_used_at)
    select k.key_id, now() - make_interval(secs => greatest(min(n.age), 0))
      from unnest(p_keys, p_ages) n (key_id, age) join control.api_keys k using (key_id)
     where p_platform = '*' and p_platform = (select tenantry.current_tenant())
     group by k.key_id order by k.key_id
    on conflict (key_id) do update set last_used_at = excluded.last_used_at
     where excluded.last_used_at > u.last_used_at;
end;

revoke execute on function tenantry.page_of_keys(int, timestamptz, uuid), tenantry.find_key(uuid),
                           tenantry.rotate_key(uuid, uuid, bytea, float8),
                           tenantry.note_key_uses(text, uuid[], float8[]) from public;
grant execute on function tenantry.page_of_keys(int, timestamptz, uuid), tenantry.find_key(uuid),
                          tenantry.rotate_key(uuid, uuid, bytea, float8),
                          tenantry.note_key_uses(text, uuid[], float8[]) to tenantry_app;
