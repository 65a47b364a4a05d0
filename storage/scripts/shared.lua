-- What every quota script begins with. One call serves one tenant: all KEYS carry its hash tag.
-- KEYS  1 rate (when the bucket is full again, in us)   2 slots (run -> expiry)
--       3 tokens (<period>:spent, <period>:held)        4 runs (run -> its record, packed)
--       5 due (run -> when its holds are charged, or its record is forgotten)
-- ARGV  1 now in us, or '' for the server's clock   2 minute  3 day  4 month (names of the current periods)
--       5 ms to keep tokens  6 us a hold lives  7 us a slot lives  8 run  9 call  10 tokens  11... the script's own
-- A record is {admitted, calls = {<call> = {state, tokens, periods}}}.
local RATE, SLOTS, TOKENS, RUNS, DUE = unpack(KEYS)
local HELD, CHARGED, SETTLED = 'held', 'charged', 'settled' -- charged: expired, taken as spent in full
local REAP = 50         -- runs and slots cleared per call: bounds the time Redis is ours alone
local MANY_FIELDS = 64  -- then what is written about past periods goes; nobody reads it
local SLACK_MS = 60000
local hold_us, slot_us = tonumber(ARGV[6]), tonumber(ARGV[7])
local run_id, call, tokens = ARGV[8], ARGV[9], tonumber(ARGV[10])

local function clock()
  if ARGV[1] ~= '' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local now = clock()

local function current_periods()
  return {ARGV[2], ARGV[3], ARGV[4]}
end

-- Digits that survive: Lua's own conversion keeps 14.
local function digits(number)
  return string.format('%.0f', number)
end

local function forget_past_periods()
  local current = {}
  for _, name in ipairs(current_periods()) do current[#name] = name end
  for _, field in ipairs(redis.call('HKEYS', TOKENS)) do
    local name = string.match(field, '%d+')
    if name < (current[#name] or '') then redis.call('HDEL', TOKENS, field) end
  end
end

-- Adds to what `periods` have spent and hold. Take away with `0 - n`: `-n` of zero is written "-0".
local function book(periods, spent, held)
  for _, period in ipairs(periods) do
    if spent ~= 0 then redis.call('HINCRBY', TOKENS, period .. ':spent', digits(spent)) end
    if held ~= 0 then redis.call('HINCRBY', TOKENS, period .. ':held', digits(held)) end
  end
  redis.call('PEXPIRE', TOKENS, ARGV[5])
  if redis.call('HLEN', TOKENS) > MANY_FIELDS then forget_past_periods() end
end

-- Six figures: spent and held of each period.
local function balance(periods)
  local fields = {}
  for _, period in ipairs(periods) do
    fields[#fields + 1] = period .. ':spent'
    fields[#fields + 1] = period .. ':held'
  end
  local figures = redis.call('HMGET', TOKENS, unpack(fields))
  for i, figure in ipairs(figures) do figures[i] = tonumber(figure or 0) end
  return figures
end

local function load_run(id)
  local packed = redis.call('HGET', RUNS, id)
  if packed then return cmsgpack.unpack(packed), true end
  return {admitted = false, calls = {}}, false
end

local function holds_something(run)
  for _, hold in pairs(run.calls) do
    if hold.state == HELD then return true end
  end
  return false
end

local function schedule(id, run)
  local keep = holds_something(run) and hold_us or 2 * hold_us
  redis.call('ZADD', DUE, digits(now + keep), id)
  local ttl = digits(3 * hold_us / 1000 + SLACK_MS)
  redis.call('PEXPIRE', DUE, ttl)
  redis.call('PEXPIRE', RUNS, ttl)
end

local function save_run(id, run)
  redis.call('HSET', RUNS, id, cmsgpack.pack(run))
  schedule(id, run)
end

local function forget_run(id)
  redis.call('HDEL', RUNS, id)
  redis.call('ZREM', DUE, id)
end

local function take_slot(id)
  redis.call('ZADD', SLOTS, digits(now + slot_us), id)
  redis.call('PEXPIRE', SLOTS, digits(slot_us / 1000 + SLACK_MS))
end

-- A settle that never came: the hold is charged in full, until a late one says better.
local function charge_in_full(run)
  for _, hold in pairs(run.calls) do
    if hold.state == HELD then
      book(hold.periods, hold.tokens, 0 - hold.tokens)
      hold.state = CHARGED
    end
  end
end

local function reap_runs()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', digits(now), 'LIMIT', 0, REAP)) do
    local run = load_run(id)
    if holds_something(run) then
      charge_in_full(run)
      save_run(id, run)
    else
      forget_run(id)
    end
  end
end

-- The records are kept for less long than the figures: what is still held without any is spent.
local function charge_orphans()
  if redis.call('EXISTS', DUE) == 1 then return end
  local periods, figures = current_periods(), balance(current_periods())
  for i, period in ipairs(periods) do
    local held = figures[2 * i]
    if held ~= 0 then book({period}, held, 0 - held) end
  end
end

local function reap_slots()
  local gone = redis.call('ZRANGEBYSCORE', SLOTS, '-inf', digits(now), 'LIMIT', 0, REAP)
  if #gone > 0 then redis.call('ZREM', SLOTS, unpack(gone)) end
end

local function reap()
  reap_runs()
  charge_orphans()
  reap_slots()
end

-- Us until the bucket is full again.
local function rate_debt()
  return math.max(0, tonumber(redis.call('GET', RATE) or 0) - now)
end

-- Slots taken, the expired that are not reaped yet included: counting them can only refuse too much.
local function slots_taken()
  return redis.call('ZCARD', SLOTS)
end

-- The reply of a decision: us to wait for each limit (0 where it does not refuse), then the standings.
local function report(waits)
  local figures = balance(current_periods())
  return {waits[1], waits[2], waits[3], waits[4], waits[5], rate_debt(), slots_taken(), unpack(figures)}
end
