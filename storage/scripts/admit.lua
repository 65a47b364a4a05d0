-- ADMIT: rate, concurrency and three budgets at once; all or nothing, and once per run.
-- ARGV  17 us a request costs (-1 unlimited)  18 burst  19 slots (-1 unlimited)  20 tokens wanted if they fit
local SLOT_HINT_US = 1000000 -- runs end when they end: come again in a second
local ROOM = 16             -- a generous hold must not be what refuses the next caller
local cost_us, burst, slots = tonumber(ARGV[17]), tonumber(ARGV[18]), tonumber(ARGV[19])

local function rate_wait()
  if cost_us < 0 then return 0 end
  return math.max(0, rate_debt() + cost_us - cost_us * burst)
end

-- A bucket is never emptier than empty: what was owed at a slower rate is not owed at this one.
local function forget_debt_of_another_plan()
  local most = cost_us * burst
  if cost_us < 0 or rate_debt() <= most then return end
  redis.call('SET', RATE, digits(now + most), 'PX', digits(math.ceil(most / 1000) + SLACK_MS))
end

local function slot_wait()
  if slots < 0 or redis.call('ZSCORE', SLOTS, run_id) or slots_taken() < slots then return 0 end
  return SLOT_HINT_US
end

local function spend_request()
  if cost_us < 0 then return end
  local debt = rate_debt() + cost_us
  redis.call('SET', RATE, digits(now + debt), 'PX', digits(math.ceil(debt / 1000) + SLACK_MS))
end

-- More than the run needs to be admitted: taken only where every budget has room for many such.
local function hold_wanted(run, hold)
  local wanted = tonumber(ARGV[20])
  if wanted <= tokens then return end
  tokens = wanted * ROOM
  local fits = math.max(unpack(budget_waits(hold))) == 0
  tokens = wanted
  if fits then hold_more(run, hold) end
end

-- The reply of every script, and the tokens that call 0 holds.
local function answer(waits, hold)
  local reply = report(waits)
  reply[#reply + 1] = hold.tokens or 0
  return reply
end

reap()
forget_debt_of_another_plan()
local run = load_run(run_id)
local waits = {0, slot_wait(), 0, 0, 0}
local hold = hold_of(run)
if not run.admitted then
  waits = {rate_wait(), waits[2], unpack(budget_waits(hold))}
end
if math.max(unpack(waits)) > 0 then return answer(waits, hold) end
take_slot(run_id)
if not run.admitted then
  spend_request()
  hold_more(run, hold)
  hold_wanted(run, hold)
  run.admitted = true
end
save_run(run_id, run)
return answer(waits, hold)
