-- Adds a suppression. The profile, and so the suppression, then lives without an end.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- ARGV     suppression field, source id, at ms or -1 for now
-- Returns {0, now ms}: refused, the time is more than 5 s ahead of the store's clock; or
--         {1, now ms, general version}. A suppression that is there already stays as it was first said.
local AHEAD_MS = 5000
local profile = KEYS[1]
local field, source, at = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if at > now + AHEAD_MS then
  return {0, now}
end
if at < 0 or at > now then
  at = now
end
if redis.call("HSETNX", profile, field, string.format("%.0f", at) .. "," .. source) == 1 then
  redis.call("HINCRBY", profile, "!s", 1)
  redis.call("HINCRBY", profile, "!g", 1)
end
redis.call("HSET", profile, "!u", string.format("%.0f", now))
redis.call("PERSIST", profile)
return {1, now, tonumber(redis.call("HGET", profile, "!g"))}
