-- Putting what a model call really took in the place of its hold, for settle and release.
-- ask  call   actual {tokens, cost}
local function settle_call(run)
  local hold = run.calls[ask.call]
            or {state = HELD, tokens = 0, cost = 0, input = 0, model = '', periods = ask.periods, at = now}
  if hold.state == SETTLED then return 0 end
  local tokens, cost = ask.actual[1], ask.actual[2]
  if hold.state == HELD then
    book(run.user, hold.periods, {tokens, 0 - hold.tokens, cost, 0 - hold.cost})
  else
    book(run.user, hold.periods, {tokens - hold.tokens, 0, cost - hold.cost, 0})
  end
  add(COUNTERS, 'served', tokens)
  hold.state, hold.tokens, hold.cost = SETTLED, tokens, cost
  run.calls[ask.call] = hold
  return 1
end
