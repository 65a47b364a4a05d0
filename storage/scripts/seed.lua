-- SEED: what the ledger says was spent, where the counters are gone; 0 where they are there.
-- ask  spent {{tokens, cost} of minute, day and month}   version (a fresh one, never used before)
local key = ask.user == '' and COUNTERS or of_user(COUNTERS, ask.user)
local book = book_at(key)
if book.known then return {0} end
book.figures.version = ask.version
book.changed.served = true
for i, period in ipairs(ask.periods) do
  add(key, period .. ':spent', ask.spent[i][1])
  add(key, period .. ':cost', ask.spent[i][2])
end
write_books()
return {1}
