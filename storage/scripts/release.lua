-- RELEASE: settle the run's last call if it is named, free its slot, and give back what no settle
-- has claimed, charged in full or not.
redis.call('ZREM', SLOTS, run_id)
local run, known = load_run(run_id)
if tokens >= 0 then settle_call(run) elseif not known then return {0} end
for name, hold in pairs(run.calls) do
  if hold.state == HELD then book(hold.periods, 0, 0 - hold.tokens) end
  if hold.state == CHARGED then book(hold.periods, 0 - hold.tokens, 0) end
  if hold.state ~= SETTLED then run.calls[name] = nil end
end
save_run(run_id, run)
return {1}
