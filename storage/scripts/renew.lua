-- RENEW: the run is alive; its slot and holds live on. 0 when its slot was given away meanwhile.
-- A Redis that forgot everything is told again what the run holds.
-- ask  holds {<call> = {tokens, cost, input, model}}
local run, known = load_run(ask.run)
if known then
  schedule(ask.run, run)
  if not redis.call('ZSCORE', SLOTS, ask.run) then return {0} end
  take_slot(ask.run, run, {})
  return {1}
end
if not ask.holds or counters_are_gone() then return {UNKNOWN} end
run.admitted = true
for call, held in pairs(ask.holds) do
  book(run.user, ask.periods, {0, held[1], 0, held[2]})
  run.calls[call] = {state = HELD, tokens = held[1], cost = held[2], input = held[3], model = held[4],
                     periods = ask.periods, at = now}
end
take_slot(ask.run, run, {})
save_run(ask.run, run)
write_books()
return {1}
