-- What was taken is done, or is due again later; unless it was put in anew meanwhile.
-- KEYS[1]  ctl:claims_due      ARGV  member, ms that it was put off to, ms at which it is due again ("" never)
local score = redis.call("ZSCORE", KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == "" then return redis.call("ZREM", KEYS[1], ARGV[1]) end
return redis.call("ZADD", KEYS[1], ARGV[3], ARGV[1])
