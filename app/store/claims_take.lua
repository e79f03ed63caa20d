-- Hands out what is due, and puts it off, so that others do not take it too, and somebody does if this one dies.
--
-- KEYS[1]  ctl:claims_due   zset: claims key, or `alias <loser> <winner> <ms>`, by the Unix ms at which it is due
-- ARGV     due until (Unix ms), ms to put it off, how many at most
-- Returns {ms that it was put off to, member, …}
local time = redis.call("TIME")
local again = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[2]))
local members = redis.call("ZRANGE", KEYS[1], "-inf", ARGV[1], "BYSCORE", "LIMIT", 0, ARGV[3])
for _, member in ipairs(members) do redis.call("ZADD", KEYS[1], again, member) end
return {again, unpack(members)}
