#!lua
-- Moves one kept conversion on, if it is still what was read.
--
-- KEYS  1 what is known of the customer's mail beyond decisions (hash; see outcome.lua)
-- ARGV  1 field  2 value that was read  3 value that takes its place; "": it is forgotten
--
-- Returns 1, or 0: it is something else by now, or gone.
-- e.g. EVALSHA sha 1 {s017}:w:cus_1 v… … …
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
