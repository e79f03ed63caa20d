-- Adds a suppression. The profile, and so the suppression, then lives without an end, and so does its history.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- KEYS[2]  history   list, described in history.lua, which stands before this file
-- ARGV     suppression field, source id, at ms or -1 for now, id of who, why ("" for no reason of its own)
-- Returns {0, now ms}: refused, the time is more than 5 s ahead of the store's clock; or
--         {2, customer}: this customer became that one, suppress there; or
--         {1, now ms, general version}. Said again later, a suppression holds from the later time on, so that a
--         resubscription from in between does not lift it.
local AHEAD_MS = 5000
local profile, history = KEYS[1], KEYS[2]
local field, source, at = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format("%.0f", now)

if at > now + AHEAD_MS then
  return {0, now}
end
local merged = redis.call("HGET", profile, "!m")
if merged and string.sub(merged, 1, 1) == ">" then
  return {2, string.sub(merged, 2)}
end
if at < 0 or at > now then
  at = now
end
local value = string.format("%.0f", at) .. "," .. source
local said = redis.call("HGET", profile, field)
if not said then
  redis.call("HINCRBY", profile, "!s", 1)
  redis.call("HINCRBY", profile, "!g", 1)
  remember(history, now_text, ARGV[4], {field .. "=" .. value}, ARGV[5])
end
if not said or at > tonumber(string.match(said, "^%d+") or 0) then
  redis.call("HSET", profile, field, value)
end
redis.call("HSET", profile, "!u", now_text)
redis.call("PERSIST", profile)
redis.call("PERSIST", history)
return {1, now, tonumber(redis.call("HGET", profile, "!g"))}
