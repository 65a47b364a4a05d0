-- API keys.

-- query: list_keys
-- The tenant's API keys, oldest first, from a cursor on.
select * from tenantry.page_of_keys(%(limit)s, %(after_time)s, %(after_id)s)

-- query: add_key
-- Stores an API key's digest.
select tenantry.add_key(%(key_id)s, %(digest)s, %(subject_id)s, %(role)s, %(scopes)s, %(expires_at)s) as created_at

-- query: revoke_key
-- Revokes an API key of the tenant.
select tenantry.revoke_key(%(key_id)s) as revoked

-- query: find_key
-- One API key of the tenant.
select * from tenantry.find_key(%(key_id)s)

-- query: rotate_key
-- Puts a new API key in the place of one of the tenant, which ends after an overlap.
select * from tenantry.rotate_key(%(key_id)s, %(new_id)s, %(digest)s, %(overlap_seconds)s)

-- query: note_key_uses
-- Notes how many seconds ago API keys of any tenants were last used.
select tenantry.note_key_uses(tenantry.enter(%(tenant_id)s, %(seal)s), %(keys)s, %(ages)s)

-- query: authenticate_key
-- The API key with this digest.
select * from tenantry.authenticate_key(%(digest)s)
