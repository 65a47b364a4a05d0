-- RESERVE: see to it that the hold of one model call is at least `tokens`.
reap()
local run = load_run(run_id)
local hold = hold_of(run)
local waits = {0, 0, unpack(budget_waits(hold))}
if math.max(unpack(waits)) == 0 then
  hold_more(run, hold)
  save_run(run_id, run)
end
return report(waits)
