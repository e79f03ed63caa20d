-- Keeps what was said of a recipient, or of a mail, whom nobody knows yet.
-- KEYS  1 what waits (hash)
-- ARGV  1 fingerprint  2 what was said (bytes)  3 ms to keep it  4 "1": it stops mail, and is kept without an end
--       5 at most so many that stop nothing
-- Returns 1 where it is new, 0 where it was kept before or there is no room for it.
local key, stops = KEYS[1], ARGV[4] == "1"
if redis.call("HEXISTS", key, ARGV[1]) == 1 then return 0 end
if not stops and redis.call("HLEN", key) >= tonumber(ARGV[5]) then return 0 end
redis.call("HSET", key, ARGV[1], ARGV[2])
if stops then
  redis.call("HSET", key, "!", "1")
  redis.call("PERSIST", key)
elseif redis.call("HEXISTS", key, "!") == 0 then
  redis.call("PEXPIRE", key, ARGV[3])
end
return 1
