-- INSPECT: everything that is counted of a tenant and of the users named, and the records of its runs, as it is now.
-- ask  users {digest, ...}
if not book_at(COUNTERS).known then return {{}, {}, {}} end
reap('')
write_books()
local users = {}
for i, user in ipairs(ask.users) do users[i] = redis.call('HGETALL', of_user(COUNTERS, user)) end
return {redis.call('HGETALL', COUNTERS), users, redis.call('HGETALL', RUNS)}
