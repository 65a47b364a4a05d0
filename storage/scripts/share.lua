-- SHARE: tell what a replica has at one model endpoint, and take its part of the slots.
-- KEYS  1 slots (replica -> its numbers, packed)
-- ARGV  1 replica  2 calls in flight  3 calls in flight or waiting  4 weight of those whose calls they are
--       5 its limit in thousandths  6 part it goes by  7 ms for which the endpoint told it to wait
--       8 most calls in flight in the cell  9 ms after which numbers are forgotten
-- REPLY 1 part  2 agreed limit in thousandths  3 replicas  4 ms for which it told others to wait
-- A replica claims what it may have in flight until it hears otherwise. Nobody gets what is claimed,
-- so together they never have more than the most; only that each has at least one goes beyond it.
local SLOTS, own = KEYS[1], ARGV[1]
local in_flight, part, most, keep_ms = tonumber(ARGV[2]), tonumber(ARGV[6]), tonumber(ARGV[8]), tonumber(ARGV[9])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local replicas = {[own] = {
  in_flight = in_flight,
  calls = math.max(1, tonumber(ARGV[3])),
  weight = math.max(1, tonumber(ARGV[4])),
  limit = tonumber(ARGV[5]),
  paused = now + tonumber(ARGV[7]),
  forgotten = now + keep_ms,
}}
local names = {own}
local stored = redis.call('HGETALL', SLOTS)
for i = 1, #stored, 2 do
  local name, numbers = stored[i], cmsgpack.unpack(stored[i + 1])
  if numbers.forgotten <= now then
    redis.call('HDEL', SLOTS, name)
  elseif name ~= own then
    replicas[name] = numbers
    names[#names + 1] = name
  end
end
table.sort(names)

local claimed, paused, busy, weighted, weight = 0, now, 0, 0, 0
for _, name in ipairs(names) do
  local numbers = replicas[name]
  if name ~= own then
    claimed = claimed + numbers.claim
    paused = math.max(paused, numbers.paused)
  end
  busy = busy + numbers.in_flight + 1
  weighted = weighted + numbers.limit * (numbers.in_flight + 1)
  weight = weight + numbers.weight
end
local limit = math.floor(weighted / busy + 0.5)
local slots = math.max(1, math.min(most, math.floor(limit / 1000)))

-- By weight, but nobody more than it has calls; what nobody needs, equally.
local function divide()
  local hungriest_last = {unpack(names)}
  table.sort(hungriest_last, function(one, other)
    one, other = replicas[one], replicas[other]
    return one.calls * other.weight < other.calls * one.weight
  end)
  local left = slots
  for _, name in ipairs(hungriest_last) do
    local numbers = replicas[name]
    numbers.wanted = math.min(numbers.calls, left * numbers.weight / weight)
    left = left - numbers.wanted
    weight = weight - numbers.weight
  end
  for _, name in ipairs(names) do replicas[name].wanted = replicas[name].wanted + left / #names end
end

-- Rounded along the line of replicas: all who see the same numbers come to parts that add up.
local function fair_part()
  local before = 0
  for _, name in ipairs(names) do
    local after = before + replicas[name].wanted
    if name == own then return math.floor(after + 1e-6) - math.floor(before + 1e-6) end
    before = after
  end
end

divide()
local given = math.max(1, math.min(fair_part(), slots - claimed))
replicas[own].claim = math.max(given, part, in_flight)
replicas[own].wanted = nil
redis.call('HSET', SLOTS, own, cmsgpack.pack(replicas[own]))
redis.call('PEXPIRE', SLOTS, keep_ms)
return {given, limit, #names, paused - now}
