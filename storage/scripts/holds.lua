-- Holding what a model call may cost at most, for admit and reserve.
-- ask  call   offers {{tokens, cost, input, model}, ...} in the order in which they are wanted
--      budgets (limits of tokens by minute, day and month, of money, then the same for the user; -1 unlimited)
--      left_us (until minute, day and month are over)   run_tokens (what the run may take in all, -1 unlimited)
local HELD_US = 2000000 -- only holds are in the way: they are settled or given back soon
local METERS = 2        -- tokens, money

local function hold_of(run)
  local hold = run.calls[ask.call]
  if hold then return hold end
  return {state = HELD, tokens = 0, cost = 0, input = 0, model = '', periods = ask.periods, at = now}
end

-- An expired hold that is used after all becomes a hold again: the sum stays the same.
local function revive(run, hold)
  if hold.state ~= CHARGED then return end
  book(run.user, hold.periods, {0 - hold.tokens, hold.tokens, 0 - hold.cost, hold.cost})
  hold.state = HELD
end

-- Tokens and cost that an offer takes beyond what is held.
local function missing(hold, offer)
  if hold.state == SETTLED then return {0, 0} end
  return {math.max(0, offer[1] - hold.tokens), math.max(0, offer[2] - hold.cost)}
end

local function wait_of(limit, spent, held, more, left_us)
  if more == 0 or limit < 0 or spent + held + more <= limit then return 0 end
  if spent + more <= limit then return math.min(HELD_US, left_us) end
  return left_us
end

local function run_wait(run, more)
  if ask.run_tokens < 0 or more[1] == 0 then return 0 end
  local taken = more[1]
  for _, hold in pairs(run.calls) do taken = taken + hold.tokens end
  return taken > ask.run_tokens and ask.left_us[3] or 0
end

-- Us to wait until each budget has room for what is missing: as many as there are budgets, and the run's own.
local function budget_waits(run, hold, more, figures)
  local waits = {}
  for level = 1, #figures do
    for meter = 1, METERS do
      for period = 1, 3 do
        local limit = ask.budgets[(level - 1) * 6 + (meter - 1) * 3 + period]
        local at = 4 * (period - 1) + 2 * (meter - 1)
        waits[#waits + 1] = wait_of(limit, figures[level][at + 1], figures[level][at + 2], more[meter], ask.left_us[period])
      end
    end
  end
  waits[#waits + 1] = run_wait(run, more)
  return waits
end

local function figures_of(run, hold)
  local figures = {}
  for i, key in ipairs(levels(COUNTERS, run.user)) do figures[i] = balance(key, hold.periods) end
  return figures
end

-- The first offer that fits, or -1 and the waits of the one that may come soonest.
local function choose(run, hold)
  local figures, soonest, shortest = figures_of(run, hold), nil, math.huge
  for i, offer in ipairs(ask.offers) do
    local waits = budget_waits(run, hold, missing(hold, offer), figures)
    local longest = math.max(unpack(waits))
    if longest == 0 then return i - 1, waits end
    if longest < shortest then soonest, shortest = waits, longest end
  end
  return -1, soonest
end

local function hold_more(run, hold, offer)
  if hold.state == SETTLED then return end
  revive(run, hold)
  local more = missing(hold, offer)
  book(run.user, hold.periods, {0, more[1], 0, more[2]})
  hold.tokens, hold.cost = hold.tokens + more[1], hold.cost + more[2]
  hold.input, hold.model = math.max(hold.input, offer[3]), offer[4]
  run.calls[ask.call] = hold
end
