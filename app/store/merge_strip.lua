-- The loser's slot, last: the winner has all of it, so only the pointer stays, and the history.
-- KEYS  1 profile (hash)  2 ledger (zset)  3 aliases (set)      ARGV  winner
local profile = KEYS[1]
if redis.call("HGET", profile, "!m") ~= ">" .. ARGV[1] then return 0 end
for _, field in ipairs(redis.call("HKEYS", profile)) do
  if field ~= "!m" and field ~= "!g" then redis.call("HDEL", profile, field) end
end
redis.call("DEL", KEYS[2], KEYS[3])
return 1
