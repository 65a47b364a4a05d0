-- Holding tokens before a model call, for admit and reserve.
-- ARGV  11-13 limits of minute, day and month (-1 unlimited)  14-16 us until those periods are over
local HELD_US = 2000000 -- only holds are in the way: they are settled or given back soon

local function hold_of(run)
  local hold = run.calls[call]
  if hold then return hold end
  return {state = HELD, tokens = 0, periods = current_periods()}
end

-- An expired hold that is used after all becomes a hold again: the sum stays the same.
local function revive(hold)
  if hold.state ~= CHARGED then return end
  book(hold.periods, 0 - hold.tokens, hold.tokens)
  hold.state = HELD
end

local function missing(hold)
  if hold.state == SETTLED then return 0 end
  return math.max(0, tokens - hold.tokens)
end

-- Us to wait until each of the three budgets has room for what is missing.
local function budget_waits(hold)
  local waits, more, figures = {0, 0, 0}, missing(hold), balance(hold.periods or current_periods())
  if more == 0 then return waits end
  for i = 1, 3 do
    local limit, left_us = tonumber(ARGV[10 + i]), tonumber(ARGV[13 + i])
    local spent, held = figures[2 * i - 1], figures[2 * i]
    if limit >= 0 and spent + held + more > limit then
      local only_held = spent + more <= limit
      waits[i] = only_held and math.min(HELD_US, left_us) or left_us
    end
  end
  return waits
end

local function hold_more(run, hold)
  if hold.state == SETTLED then return end
  revive(hold)
  local more = missing(hold)
  if more > 0 then book(hold.periods, 0, more) end
  hold.tokens = hold.tokens + more
  run.calls[call] = hold
end
