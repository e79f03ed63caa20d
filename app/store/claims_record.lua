-- Takes down which customers an identity was told together with, and when first. The order of runs, and repeats, change
-- nothing: the earliest time of each customer stays, and of customers the `most` that were first (ties by key).
--
-- KEYS[1]  claims (hash)   <customer> → Unix ms of the earliest telling
--                          ?  how often the claims changed since somebody looked at them; absent: not since then
--                          =  whose it was settled to be (see claims_close.lua)      ~  it was found to be shared
-- ARGV     ms to keep, most, then customer, ms of each claim
-- Returns {1 when somebody must look at it, the earliest ms of all, 1 when it was settled or found to be shared}
local claims, most = KEYS[1], tonumber(ARGV[2])
local new = redis.call("EXISTS", claims) == 0
local changed = false
for i = 3, #ARGV, 2 do
  local known = tonumber(redis.call("HGET", claims, ARGV[i]) or "")
  if not known or tonumber(ARGV[i + 1]) < known then
    redis.call("HSET", claims, ARGV[i], ARGV[i + 1])
    changed = true
  end
end

local pairs_held, told = redis.call("HGETALL", claims), {}
for i = 1, #pairs_held, 2 do
  if string.find(pairs_held[i], "^[%w_-]+$") then told[#told + 1] = {tonumber(pairs_held[i + 1]), pairs_held[i]} end
end
table.sort(told, function(one, other) return one[1] < other[1] or (one[1] == other[1] and one[2] < other[2]) end)
for i = most + 1, #told do redis.call("HDEL", claims, told[i][2]) end
if changed then redis.call("HINCRBY", claims, "?", 1) end
-- A suppressed customer's identities do not end.
if new or redis.call("PTTL", claims) ~= -1 then redis.call("PEXPIRE", claims, ARGV[1]) end

local marked = redis.call("HEXISTS", claims, "=") + redis.call("HEXISTS", claims, "~") > 0
return {redis.call("HEXISTS", claims, "?"), string.format("%.0f", told[1][1]), marked and 1 or 0}
