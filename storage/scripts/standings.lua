-- STANDINGS: where the tenant and a user of it stand, decided nothing.
if counters_are_gone() then return {UNKNOWN} end
reap(ask.user)
return report({}, -1, {})
