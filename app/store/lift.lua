-- Lifts suppressions. When none is left the profile has a time to live again.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- ARGV[1]  ttl, ms
-- ARGV[2…] suppression fields to lift; those that are not there are passed over
-- Returns {general version, suppressions left, lifted field, …}, or {} where nothing is known of the customer.
local profile = KEYS[1]
if redis.call("HEXISTS", profile, "!u") == 0 then
  return {}
end
local lifted = {}
for i = 2, #ARGV do
  if redis.call("HDEL", profile, ARGV[i]) == 1 then
    lifted[#lifted + 1] = ARGV[i]
  end
end
local left = tonumber(redis.call("HGET", profile, "!s") or 0)
if #lifted > 0 then
  left = redis.call("HINCRBY", profile, "!s", -#lifted)
  redis.call("HINCRBY", profile, "!g", 1)
  local time = redis.call("TIME")
  redis.call("HSET", profile, "!u", string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000)))
end
if left == 0 then
  redis.call("HDEL", profile, "!s")
  redis.call("PEXPIRE", profile, ARGV[1])
end
return {tonumber(redis.call("HGET", profile, "!g") or 0), left, unpack(lifted)}
