-- Hands out erasures that are not done and that nobody has been at for a while, and notes that somebody is.
--
-- KEYS[1]  ctl:erasures   zset: id → when somebody was last at it, ms; 0: nobody yet
-- ARGV     ms since the last time, how many at most
-- Returns their ids.
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", now - ARGV[1], "LIMIT", 0, ARGV[2])
for _, id in ipairs(ids) do redis.call("ZADD", KEYS[1], now, id) end
return ids
