-- Notes that a customer shall become another one, before anything is done, so that any process can finish it.
--
-- KEYS[1]  ctl:merges   hash: loser → `<winner> <begun, ms> <last tried, ms> <id of who>[ <why>]`
-- ARGV     loser, winner, id of who, why ("" for no reason of its own)
-- Returns {"begun", begun ms, id of who, why}: noted; where it was noted before, as it was then; or {"busy"}: one of the
--         two is part of a merge under way in such a way that the pointers would become a chain or a circle.
--
-- A winner may take in many at once. A loser is in no other merge, and a winner is no loser: so who has begun a merge
-- knows that nobody else moves these two until it has ended.
local MERGES_MAX = 10000  -- under way at once; a merge takes milliseconds
local merges, loser, winner = KEYS[1], ARGV[1], ARGV[2]

local noted = redis.call("HGET", merges, loser)
if noted then
  local into, begun, who, why = string.match(noted, "^(%S+) (%d+) %d+ (%S+) ?(.*)$")
  if into ~= winner then return {"busy"} end
  return {"begun", tonumber(begun), who, why}
end
if redis.call("HEXISTS", merges, winner) == 1 or redis.call("HLEN", merges) >= MERGES_MAX then return {"busy"} end
for _, other in ipairs(redis.call("HVALS", merges)) do
  if string.match(other, "^%S+") == loser then return {"busy"} end
end
local time = redis.call("TIME")
local now = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
local intent = winner .. " " .. now .. " " .. now .. " " .. ARGV[3]
if ARGV[4] ~= "" then intent = intent .. " " .. ARGV[4] end
redis.call("HSET", merges, loser, intent)
return {"begun", tonumber(now), ARGV[3], ARGV[4]}
