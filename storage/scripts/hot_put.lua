-- HOT PUT: keeps a copy of a thread and lists it among its tenant's; 0 and nothing while those are dropped.
local copy, copies, closed = KEYS[1], KEYS[2], KEYS[3]
local packed, life = ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', closed) == 1 then return 0 end
local now = tonumber(redis.call('TIME')[1])
redis.call('SET', copy, packed, 'EX', life)
redis.call('ZREMRANGEBYSCORE', copies, '-inf', now) -- they ended by themselves
redis.call('ZADD', copies, now + life, copy)
redis.call('EXPIRE', copies, life)
return 1
