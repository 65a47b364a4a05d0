-- RELEASE: settle the run's last call if it is named, free its slot, and give back what no settle
-- has claimed, charged in full or not.
local run, known = load_run(ask.run)
free_slot(ask.run, run.user)
if counters_are_gone() then return {UNKNOWN} end
if ask.actual then settle_call(run) elseif not known then return {0} end
for name, hold in pairs(run.calls) do
  if hold.state == HELD then book(run.user, hold.periods, {0, 0 - hold.tokens, 0, 0 - hold.cost}) end
  if hold.state == CHARGED then book(run.user, hold.periods, {0 - hold.tokens, 0, 0 - hold.cost, 0}) end
  if hold.state ~= SETTLED then run.calls[name] = nil end
end
save_run(ask.run, run)
write_books()
return {1}
