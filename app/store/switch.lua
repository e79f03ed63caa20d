-- Turns a kill switch, and says so in the history; both or neither.
--
-- KEYS[1]  switches  hash: `<kind>/<name>` → JSON of what is off
-- KEYS[2]  history   list, newest first, in the same slot
-- ARGV     field, value (empty: turn on again), value that must be there (empty: any), history entry, entries kept,
--          newest history entry that must be there ("-": there must be none; absent: any)
-- Returns 1, or 0: nothing was changed, since another value or another newest entry is there, or what shall be turned on
-- is on.
local switches, history = KEYS[1], KEYS[2]
local field, value, expected = ARGV[1], ARGV[2], ARGV[3]
local stored = redis.call("HGET", switches, field)

if expected ~= "" and stored ~= expected then
  return 0
end
if ARGV[6] and (redis.call("LINDEX", history, 0) or "-") ~= ARGV[6] then
  return 0
end
if value ~= "" then
  redis.call("HSET", switches, field, value)
elseif redis.call("HDEL", switches, field) == 0 then
  return 0
end
redis.call("LPUSH", history, ARGV[4])
redis.call("LTRIM", history, 0, ARGV[5] - 1)
return 1
