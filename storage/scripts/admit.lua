-- ADMIT: rate, concurrency and budgets of tenant, user and run at once; all or nothing, and once per run.
-- ask  wanted {tokens, cost, input, model}: taken in the place of the first offer where every budget has room for many
local LEAST_SLOT_US = 1000000 -- nobody need come again sooner
local FIRST_RUN_US = 5000000  -- that a run takes while nothing is known
local LOOKED_AT = 100         -- runs in slots: bounds the time
local ROOM = 16               -- a generous hold must not be what refuses the next caller

if counters_are_gone() then return {UNKNOWN} end

local function rate_wait(debt, rate)
  if rate[1] < 0 then return 0 end
  return math.max(0, debt + rate[1] - rate[1] * rate[2])
end

-- Us that a run takes at most, most often: what TCP expects of a round trip (RFC 6298).
local function usual_us()
  local mean = figure(COUNTERS, 'run_us')
  return mean > 0 and mean + 4 * figure(COUNTERS, 'run_off_us') or FIRST_RUN_US
end

-- Us until the first of the runs in slots has probably ended. One that is late already may be as late again.
local function until_a_run_ends(key)
  local soonest, usual = math.huge, usual_us()
  for _, id in ipairs(redis.call('ZRANGE', key, 0, LOOKED_AT - 1)) do
    local run = load_run(id)
    local age = now - (run.since or now)
    soonest = math.min(soonest, age < usual and usual - age or age)
  end
  return math.max(LEAST_SLOT_US, soonest)
end

local function slot_wait(key, taken, most)
  if most < 0 or taken < most or redis.call('ZSCORE', key, ask.run) then return 0 end
  if most == 0 then return LEAST_SLOT_US end
  return until_a_run_ends(key)
end

local function debts_of(run)
  local debts = {}
  for i, key in ipairs(levels(RATE, run.user)) do debts[i] = rate_debt(i, key) end
  return debts
end

local function taken_of(run)
  local taken = {}
  for i, key in ipairs(slot_keys(run.user)) do taken[i] = slots_taken(key) end
  return taken
end

local function waits_at_the_gate(run, debts, taken)
  local waits = {}
  for i, debt in ipairs(debts) do waits[#waits + 1] = run.admitted and 0 or rate_wait(debt, ask.rates[i]) end
  for i, key in ipairs(levels(SLOTS, run.user)) do
    waits[#waits + 1] = slot_wait(key, taken[i] or 0, ask.slots[i])
  end
  return waits
end

local function spend_request(run, debts)
  for i, key in ipairs(levels(RATE, run.user)) do
    local cost_us = ask.rates[i][1]
    if cost_us >= 0 then
      debts[i] = debts[i] + cost_us
      redis.call('SET', key, digits(now + debts[i]), 'PX', digits(math.ceil(debts[i] / 1000) + SLACK_MS))
    end
  end
end

local function hold_wanted(run, hold)
  if not ask.wanted then return end
  local many = {ask.wanted[1] * ROOM, ask.wanted[2] * ROOM}
  local waits = budget_waits(run, hold, missing(hold, many), figures_of(run, hold))
  waits[#waits] = run_wait(run, missing(hold, ask.wanted))
  if math.max(unpack(waits)) == 0 then hold_more(run, hold, ask.wanted) end
end

reap(ask.user)
local run = load_run(ask.run)
local debts, taken = debts_of(run), taken_of(run)
local waits, hold, chosen = waits_at_the_gate(run, debts, taken), hold_of(run), run.chosen or 0
local budgets = nil
if run.admitted then
  budgets = budget_waits(run, hold, {0, 0}, figures_of(run, hold))
else
  chosen, budgets = choose(run, hold)
end
for _, wait in ipairs(budgets) do waits[#waits + 1] = wait end
if math.max(unpack(waits)) > 0 then return report(waits, -1, hold, debts, taken) end
take_slot(ask.run, run, taken)
if not run.admitted then
  spend_request(run, debts)
  hold_more(run, hold, ask.offers[chosen + 1])
  if chosen == 0 then hold_wanted(run, hold) end
  run.admitted, run.chosen = true, chosen
end
save_run(ask.run, run)
return report(waits, chosen, hold, debts, taken)
