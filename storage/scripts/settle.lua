-- SETTLE: put what a model call really took in the place of its hold. 1 the first time, then 0.
if counters_are_gone() then return {UNKNOWN} end
local run = load_run(ask.run)
local done = settle_call(run)
if done == 1 then save_run(ask.run, run) end
write_books()
return {done}
