-- RENEW: the run is alive; its slot and holds live on. 0 when its slot was given away meanwhile.
local run, known = load_run(run_id)
if known then schedule(run_id, run) end
if not redis.call('ZSCORE', SLOTS, run_id) then return {0} end
take_slot(run_id)
return {1}
