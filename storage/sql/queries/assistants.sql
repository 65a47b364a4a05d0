-- How an assistant speaks, and who says so.

-- call: who_speaks
-- What a user prefers, and an assistant as it is published or drafted, in one trip.
select * from tenantry.who_speaks(tenantry.enter(%(tenant_id)s, %(seal)s), %(subject_id)s, %(assistant)s, %(draft)s)

-- query: platform_profiles
-- What the deployment says of all assistants, by plan, and the ones that every tenant sees.
select * from tenantry.platform_profiles(tenantry.enter(%(tenant_id)s, %(seal)s))

-- query: put_profile
-- Replaces what the tenant says of its assistants.
select tenantry.put_profile(%(says)s::jsonb) as done

-- query: get_preferences
-- What a user prefers.
select says from tenantry.user_preferences where tenant_id = %(tenant_id)s and subject_id = %(subject_id)s

-- query: put_preferences
-- Replaces what a user prefers.
insert into tenantry.user_preferences (tenant_id, subject_id, says)
values (%(tenant_id)s, %(subject_id)s, %(says)s::jsonb)
on conflict (tenant_id, subject_id) do update set says = excluded.says

-- query: lock_assistants
-- One writer at a time counts the tenant's assistants, until the end of the transaction.
select pg_advisory_xact_lock(hashtextextended('assistants ' || %(tenant_id)s, 0))

-- query: count_assistants
-- How many the tenant has.
select count(*) as assistants from tenantry.assistants where tenant_id = %(tenant_id)s

-- query: add_assistant
-- A new assistant; nothing when its slug is taken.
insert into tenantry.assistants (tenant_id, assistant_id, slug, draft)
values (%(tenant_id)s, %(assistant_id)s, %(slug)s, %(draft)s::jsonb)
on conflict (tenant_id, slug) do nothing

-- query: list_assistants
-- A page of the tenant's assistants, newest first.
select a.assistant_id, a.slug, a.draft, a.published, v.content, a.created_at, a.updated_at
  from tenantry.assistants a
  left join tenantry.assistant_versions v on v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id
                                         and v.version = a.published
 where a.tenant_id = %(tenant_id)s
   and (%(after_time)s::timestamptz is null or (a.created_at, a.assistant_id) < (%(after_time)s, %(after_id)s::uuid))
 order by a.created_at desc, a.assistant_id desc limit %(limit)s

-- query: find_assistant
-- One assistant.
select a.assistant_id, a.slug, a.draft, a.published, v.content, a.created_at, a.updated_at
  from tenantry.assistants a
  left join tenantry.assistant_versions v on v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id
                                         and v.version = a.published
 where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s

-- query: lock_assistant
-- The draft of one assistant, which nobody else changes until the end of the transaction.
select draft from tenantry.assistants
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s for update

-- query: put_draft
-- Replaces an assistant's draft.
update tenantry.assistants set draft = %(draft)s::jsonb, updated_at = now()
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s

-- query: add_version
-- Publishes an assistant's draft as its next version.
insert into tenantry.assistant_versions (tenant_id, assistant_id, version, content, subject_id)
select a.tenant_id, a.assistant_id,
       1 + coalesce((select max(v.version) from tenantry.assistant_versions v
                      where v.tenant_id = a.tenant_id and v.assistant_id = a.assistant_id), 0),
       a.draft, %(subject_id)s
  from tenantry.assistants a where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s
returning version

-- query: use_version
-- Puts a version of an assistant into use; nothing without such a version.
update tenantry.assistants a set published = v.version, updated_at = now()
  from tenantry.assistant_versions v
 where a.tenant_id = %(tenant_id)s and a.assistant_id = %(assistant_id)s and v.tenant_id = a.tenant_id
   and v.assistant_id = a.assistant_id and v.version = %(version)s

-- query: list_versions
-- The versions of an assistant, newest first.
select version, content, subject_id as subject, created_at from tenantry.assistant_versions
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s
   and (%(before)s::int is null or version < %(before)s)
 order by version desc limit %(limit)s

-- query: get_version
-- One version of an assistant.
select version, content, subject_id as subject, created_at from tenantry.assistant_versions
 where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s and version = %(version)s

-- query: delete_assistant
-- Deletes an assistant with its versions.
delete from tenantry.assistants where tenant_id = %(tenant_id)s and assistant_id = %(assistant_id)s
