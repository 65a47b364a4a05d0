-- ADMIT: rate, concurrency and three budgets at once; all or nothing, and once per run.
-- ARGV  17 us a request costs (-1 unlimited)  18 burst  19 slots (-1 unlimited)
local SLOT_HINT_US = 1000000 -- runs end when they end: come again in a second
local cost_us, burst, slots = tonumber(ARGV[17]), tonumber(ARGV[18]), tonumber(ARGV[19])

local function rate_wait()
  if cost_us < 0 then return 0 end
  return math.max(0, rate_debt() + cost_us - cost_us * burst)
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

reap()
local run = load_run(run_id)
local waits = {0, slot_wait(), 0, 0, 0}
local hold = hold_of(run)
if not run.admitted then
  waits = {rate_wait(), waits[2], unpack(budget_waits(hold))}
end
if math.max(unpack(waits)) > 0 then return report(waits) end
take_slot(run_id)
if not run.admitted then
  spend_request()
  hold_more(run, hold)
  run.admitted = true
end
save_run(run_id, run)
return report(waits)
