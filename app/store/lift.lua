-- Lifts suppressions. When none is left the profile has a time to live again, and so has its history.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- KEYS[2]  history   list, described in history.lua, which stands before this file
-- ARGV[1]  ttl, ms   ARGV[2]  id of who   ARGV[3]  why ("" for no reason of its own)
-- ARGV[4…] suppression fields to lift; those that are not there are passed over
-- Returns {1, general version, suppressions left, lifted field, …}, or {0} where nothing is known of the customer, or
--         {2, customer}: this customer became that one, lift there.
local profile, history = KEYS[1], KEYS[2]
local merged = redis.call("HGET", profile, "!m")
if merged and string.sub(merged, 1, 1) == ">" then
  return {2, string.sub(merged, 2)}
end
if redis.call("HEXISTS", profile, "!u") == 0 then
  return {0}
end
local lifted, changes = {}, {}
for i = 4, #ARGV do
  if redis.call("HDEL", profile, ARGV[i]) == 1 then
    lifted[#lifted + 1] = ARGV[i]
    changes[#changes + 1] = "~" .. string.sub(ARGV[i], 2)
  end
end
local left = tonumber(redis.call("HGET", profile, "!s") or 0)
if #lifted > 0 then
  left = redis.call("HINCRBY", profile, "!s", -#lifted)
  redis.call("HINCRBY", profile, "!g", 1)
  local time = redis.call("TIME")
  local now_text = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call("HSET", profile, "!u", now_text)
  remember(history, now_text, ARGV[2], changes, ARGV[3])
end
if left == 0 then
  redis.call("HDEL", profile, "!s")
  redis.call("PEXPIRE", profile, ARGV[1])
  redis.call("PEXPIRE", history, ARGV[1])
end
return {1, tonumber(redis.call("HGET", profile, "!g") or 0), left, unpack(lifted)}
