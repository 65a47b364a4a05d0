-- SETTLE: put what a model call really took in the place of its hold. 1 the first time, then 0.
local run = load_run(run_id)
local hold = run.calls[call] or {state = HELD, tokens = 0, periods = current_periods()}
if hold.state == SETTLED then return {0} end
if hold.state == HELD then
  book(hold.periods, tokens, 0 - hold.tokens)
else
  book(hold.periods, tokens - hold.tokens, 0)
end
run.calls[call] = {state = SETTLED}
save_run(run_id, run)
return {1}
