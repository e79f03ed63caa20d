-- The winner's slot: this merge is over, done or given up. When it was the last one, marketing waits no longer.
--
-- KEYS  1 profile (hash)  2 merges (hash, described in merge_expect.lua)  3 history (list)
-- ARGV  loser, begun ms, ms to keep a profile, ms to remember the merge, "done" or "given up"
-- Returns 1 where the winner was still waiting for it, else 0. What was united cannot be given up.
local profile, merges, history, loser, begun = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local far = redis.call("HGET", merges, loser)
if ARGV[5] == "done" and far == begun .. " u" then
  redis.call("HSET", merges, loser, begun .. " d")
elseif ARGV[5] == "given up" and far == begun .. " p" then
  redis.call("HDEL", merges, loser)
else
  return 0
end
for _, other in ipairs(redis.call("HVALS", merges)) do
  if string.sub(other, -1) ~= "d" then return 1 end
end
if redis.call("HGET", profile, "!m") == "p" then
  redis.call("HDEL", profile, "!m")
  redis.call("HINCRBY", profile, "!g", 1)
end
redis.call("PEXPIRE", merges, ARGV[4])
if tonumber(redis.call("HGET", profile, "!s") or 0) == 0 then
  redis.call("PEXPIRE", profile, ARGV[3])
  redis.call("PEXPIRE", history, ARGV[3])
end
return 1
