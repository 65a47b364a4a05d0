-- STANDINGS: where the tenant stands, decided nothing.
reap()
return report({0, 0, 0, 0, 0})
