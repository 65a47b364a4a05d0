-- RESERVE: see to it that one model call holds the first of the offers that fits.
if counters_are_gone() then return {UNKNOWN} end
reap(ask.user)
local run = load_run(ask.run)
local hold = hold_of(run)
local chosen, waits = choose(run, hold)
if chosen >= 0 then
  hold_more(run, hold, ask.offers[chosen + 1])
  save_run(ask.run, run)
end
return report(waits, chosen, hold)
