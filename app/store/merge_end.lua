-- Forgets a merge that is done, or that cannot be: unless another one of the same customer was begun since.
-- KEYS[1]  ctl:merges   hash, described in merge_begin.lua      ARGV  loser, begun ms
local noted = redis.call("HGET", KEYS[1], ARGV[1])
if noted and string.match(noted, "^%S+ (%d+)") == ARGV[2] then redis.call("HDEL", KEYS[1], ARGV[1]) end
return 0
