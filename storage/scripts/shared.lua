-- What every quota script begins with. One call serves one tenant: all KEYS carry its hash tag, and so do the keys
-- of its users, which are a key of the tenant's and the user's digest: <key>/<digest>.
-- KEYS  1 rate (when the bucket is full again, in us)   2 slots (run -> expiry)
--       3 counters (<period>:spent|held|cost|cost_held, served, version, run_us, run_off_us)
--       4 runs (run -> its record, packed)
--       5 due (run -> when its holds are charged, or its record is forgotten)
-- ARGV  1 the question, packed: now (us, or absent for the server's clock), periods (names of the current minute, day
--       and month), keep_ms (for counters), hold_us, slot_us, run, user (digest or ''), subject, and each script's own.
--       Decisions also: rates ({us a request costs (-1 unlimited), burst} of tenant and user), slots (of both, -1
--       unlimited), user_is_limited (whether budgets of the user's own ask for its counters).
-- A record is {admitted, since, user, subject, calls = {<call> = {state, tokens, cost, input, model, periods, at}}}.
local RATE, SLOTS, COUNTERS, RUNS, DUE = unpack(KEYS)
local HELD, CHARGED, SETTLED = 'held', 'charged', 'settled' -- charged: expired, taken as spent in full
local KINDS = {':spent', ':held', ':cost', ':cost_held'}
local UNKNOWN = -1      -- the whole reply where the counters are gone: the ledger must say what was spent
local REAP = 50         -- runs cleared per call: bounds the time Redis is ours alone
local MANY_FIELDS = 64  -- then what is written about past periods goes; nobody reads it
local SLACK_MS = 60000
local ask = cmsgpack.unpack(ARGV[1])
local reaped = 0        -- holds that expired in this call

local function clock()
  if ask.now then return ask.now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local now = clock()

-- Digits that survive: Lua's own conversion keeps 14.
local function digits(number)
  return string.format('%.0f', number)
end

local function of_user(key, user)
  return key .. '/' .. user
end

-- The keys at which a run counts: the tenant's, and its user's.
local function levels(key, user)
  if user == '' then return {key} end
  return {key, of_user(key, user)}
end

-- Counters are read once, in one command, and written once: books[key] is {figures, changed, known}.
local books = {}
local CURRENT = {}
for _, period in ipairs(ask.periods) do
  for _, kind in ipairs(KINDS) do CURRENT[#CURRENT + 1] = period .. kind end
end
local FIRST_OF_MINUTE = CURRENT[1]

local function book_at(key)
  local book = books[key]
  if book then return book end
  local stored = redis.call('HMGET', key, 'version', 'served', unpack(CURRENT))
  book = {figures = {version = tonumber(stored[1]) or 0, served = tonumber(stored[2]) or 0}, changed = {},
          known = stored[1] ~= false, begins_minute = stored[3] == false}
  for i, field in ipairs(CURRENT) do book.figures[field] = tonumber(stored[i + 2]) or 0 end
  books[key] = book
  return book
end

local function figure(key, field)
  local figures = book_at(key).figures
  if not figures[field] then figures[field] = tonumber(redis.call('HGET', key, field)) or 0 end
  return figures[field]
end

local function add(key, field, more)
  if more == 0 then return end
  local book = book_at(key)
  book.figures[field] = figure(key, field) + more
  book.changed[field] = true
end

local function forget_past_periods(key)
  local current = {}
  for _, name in ipairs(ask.periods) do current[#name] = name end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local name = string.match(field, '^%d+')
    if name and name < (current[#name] or '') then redis.call('HDEL', key, field) end
  end
end

local function write(key, book)
  local said = {'version', digits(book.figures.version + 1)}
  for field in pairs(book.changed) do
    said[#said + 1] = field
    said[#said + 1] = digits(book.figures[field])
  end
  redis.call('HSET', key, unpack(said))
  redis.call('PEXPIRE', key, ask.keep_ms)
  if book.begins_minute and redis.call('HLEN', key) > MANY_FIELDS then forget_past_periods(key) end
end

-- Every script ends with it.
local function write_books()
  for key, book in pairs(books) do
    if next(book.changed) then write(key, book) end
  end
end

-- Adds to what `periods` have spent and hold, for tenant and user: {spent, held, cost, cost held}.
local function book(user, periods, more)
  for _, key in ipairs(levels(COUNTERS, user)) do
    for _, period in ipairs(periods) do
      for i, kind in ipairs(KINDS) do add(key, period .. kind, more[i]) end
    end
  end
end

-- Twelve figures: spent, held, cost and cost held of each period.
local function balance(key, periods)
  local figures = {}
  for _, period in ipairs(periods) do
    for _, kind in ipairs(KINDS) do figures[#figures + 1] = figure(key, period .. kind) end
  end
  return figures
end

-- Of a user only where a limit of its own asks for them: most users have none.
local function counters_are_gone()
  if not book_at(COUNTERS).known then return true end
  return ask.user_is_limited and not book_at(of_user(COUNTERS, ask.user)).known
end

local function load_run(id)
  local packed = redis.call('HGET', RUNS, id)
  if packed then return cmsgpack.unpack(packed), true end
  return {admitted = false, user = ask.user, subject = ask.subject, calls = {}}, false
end

local function has(run, state)
  for _, hold in pairs(run.calls) do
    if hold.state == state then return true end
  end
  return false
end

local function schedule(id, run)
  local keep = has(run, HELD) and ask.hold_us or 2 * ask.hold_us
  redis.call('ZADD', DUE, digits(now + keep), id)
  redis.call('PEXPIRE', DUE, ask.keep_ms)
  redis.call('PEXPIRE', RUNS, ask.keep_ms)
end

local function save_run(id, run)
  redis.call('HSET', RUNS, id, cmsgpack.pack(run))
  schedule(id, run)
end

-- A settle that never came: the hold is charged in full, until a late one or the ledger says better.
local function charge_in_full(run)
  for _, hold in pairs(run.calls) do
    if hold.state == HELD then
      book(run.user, hold.periods, {hold.tokens, 0 - hold.tokens, hold.cost, 0 - hold.cost})
      hold.state = CHARGED
      reaped = reaped + 1
    end
  end
end

-- What was charged stays known until it is reconciled: the ledger may not have it yet.
local function reap_runs()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DUE, '-inf', digits(now), 'LIMIT', 0, REAP)) do
    local run = load_run(id)
    if has(run, HELD) then
      charge_in_full(run)
      save_run(id, run)
    else
      if not has(run, CHARGED) then redis.call('HDEL', RUNS, id) end
      redis.call('ZREM', DUE, id)
    end
  end
end

-- What is held without any record of it is spent.
local function charge_orphans(user)
  for _, key in ipairs(levels(COUNTERS, user)) do
    for _, period in ipairs(ask.periods) do
      local held, cost = figure(key, period .. ':held'), figure(key, period .. ':cost_held')
      if (held ~= 0 or cost ~= 0) and redis.call('EXISTS', DUE) == 0 then
        add(key, period .. ':spent', held)
        add(key, period .. ':held', 0 - held)
        add(key, period .. ':cost', cost)
        add(key, period .. ':cost_held', 0 - cost)
      end
    end
  end
end

local function reap(user)
  reap_runs()
  charge_orphans(user)
end

-- Where slots are counted: of users only where they are limited, as far as that is known.
local function slot_keys(user)
  if ask.slots and ask.slots[2] < 0 then return {SLOTS} end
  return levels(SLOTS, user)
end

-- Takes a slot or keeps it, and counts it in `taken`.
local function take_slot(id, run, taken)
  for i, key in ipairs(slot_keys(run.user)) do
    local new = redis.call('ZADD', key, digits(now + ask.slot_us), id)
    if i == 1 and new == 1 then run.since = now end
    taken[i] = (taken[i] or 0) + new
    redis.call('PEXPIRE', key, digits(ask.slot_us / 1000 + SLACK_MS))
  end
end

-- Whether the run had one.
local function free_slot(id, user)
  local had = 0
  for i, key in ipairs(levels(SLOTS, user)) do
    local freed = redis.call('ZREM', key, id)
    if i == 1 then had = freed end
  end
  return had == 1
end

-- Slots taken now: those of dead runs are free.
local function slots_taken(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', digits(now))
  return redis.call('ZCARD', key)
end

-- Us until the bucket is full again. More than an empty bucket was owed at the slower rate of another plan, and is not
-- owed at this one: there is room for one request.
local function rate_debt(i, key)
  local cost_us, burst = ask.rates[i][1], ask.rates[i][2]
  if cost_us < 0 then return 0 end
  local debt, most = math.max(0, tonumber(redis.call('GET', key) or 0) - now), cost_us * burst
  return debt <= most and debt or math.max(0, most - cost_us)
end

-- The reply of a decision: the offer that was taken (-1 for none), what expired, what the call holds and all that was
-- served; how long to wait for each limit (us, 0 where it does not refuse), and where tenant and user stand.
local function report(waits, chosen, hold, debts, taken)
  local user = ask.user
  local reply = {chosen, reaped, hold.tokens or 0, hold.cost or 0, figure(COUNTERS, 'served')}
  for _, wait in ipairs(waits) do reply[#reply + 1] = wait end
  for i, key in ipairs(levels(RATE, user)) do reply[#reply + 1] = debts and debts[i] or rate_debt(i, key) end
  taken = taken or {}
  for i, key in ipairs(slot_keys(user)) do taken[i] = taken[i] or slots_taken(key) end
  for i = 1, #levels(SLOTS, user) do reply[#reply + 1] = taken[i] or 0 end
  for _, key in ipairs(levels(COUNTERS, user)) do
    for _, amount in ipairs(balance(key, ask.periods)) do reply[#reply + 1] = amount end
  end
  write_books()
  return reply
end
