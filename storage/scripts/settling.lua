-- Putting what a model call really took in the place of its hold, for settle and release.

local function settle_call(run)
  local hold = run.calls[call] or {state = HELD, tokens = 0, periods = current_periods()}
  if hold.state == SETTLED then return 0 end
  if hold.state == HELD then
    book(hold.periods, tokens, 0 - hold.tokens)
  else
    book(hold.periods, tokens - hold.tokens, 0)
  end
  run.calls[call] = {state = SETTLED}
  return 1
end
