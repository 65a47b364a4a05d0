-- SETTLE: put what a model call really took in the place of its hold. 1 the first time, then 0.
local run = load_run(run_id)
local done = settle_call(run)
if done == 1 then save_run(run_id, run) end
return {done}
