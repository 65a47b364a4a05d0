-- CORRECT: add what the ledger knows better, unless anything was counted since version. 1 when it was done.
-- ask  version   deltas {{user or '', period, {spent, held, cost, cost held}}, ...}   ended {{run, call}, ...}
if redis.call('HGET', COUNTERS, 'version') ~= ask.version then return {0} end
for _, delta in ipairs(ask.deltas) do
  local key = delta[1] == '' and COUNTERS or of_user(COUNTERS, delta[1])
  for i, kind in ipairs(KINDS) do add(key, delta[2] .. kind, delta[3][i]) end
end
for _, ended in ipairs(ask.ended) do
  local run, known = load_run(ended[1])
  if known and run.calls[ended[2]] then
    run.calls[ended[2]].state = SETTLED
    save_run(ended[1], run)
  end
end
book_at(COUNTERS).changed.served = true -- a version of its own, whatever was corrected
write_books()
return {1}
