-- RELEASE: settle the run's last call if it is named, free its slot, and give back what no settle
-- has claimed, charged in full or not.
-- How long runs take: a moving mean, and how far they are from it (RFC 6298).
local function learn_duration(took)
  local mean, off = figure(COUNTERS, 'run_us'), figure(COUNTERS, 'run_off_us')
  if mean == 0 then
    add(COUNTERS, 'run_us', took)
    add(COUNTERS, 'run_off_us', math.floor(took / 2) - off)
  else
    add(COUNTERS, 'run_us', math.floor((took - mean) / 8))
    add(COUNTERS, 'run_off_us', math.floor((math.abs(took - mean) - off) / 4))
  end
end

local run, known = load_run(ask.run)
local had_slot = free_slot(ask.run, run.user)
if counters_are_gone() then return {UNKNOWN} end
if had_slot and run.since then learn_duration(now - run.since) end
if ask.actual then settle_call(run) elseif not known then return {0} end
for name, hold in pairs(run.calls) do
  if hold.state == HELD then book(run.user, hold.periods, {0, 0 - hold.tokens, 0, 0 - hold.cost}) end
  if hold.state == CHARGED then book(run.user, hold.periods, {0 - hold.tokens, 0, 0 - hold.cost, 0}) end
  if hold.state ~= SETTLED then run.calls[name] = nil end
end
save_run(ask.run, run)
write_books()
return {1}
