-- The loser's slot: the customer becomes the winner. From now on no commit of its decisions is applied (their version has
-- moved), and no write: they are told of the winner.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 aliases (set)  4 history (list)
-- ARGV  winner
-- Returns {"left", TIME, profile, ledger with scores, aliases}: all that the loser holds, also where it had become the
--         winner already; or {"merged", customer}: it became another one, or, with nobody's name, was erased.
local profile, pointer = KEYS[1], ">" .. ARGV[1]
local mark = redis.call("HGET", profile, "!m")
if mark ~= pointer then
  if mark and string.sub(mark, 1, 1) == ">" then return {"merged", string.sub(mark, 2)} end
  if string.find(redis.call("HGET", profile, "!e") or "", ",") then return {"merged", ""} end
  redis.call("HSET", profile, "!m", pointer)
  redis.call("HINCRBY", profile, "!g", 1)
end
-- Nothing of it ends by itself before the winner has it.
for _, key in ipairs(KEYS) do redis.call("PERSIST", key) end
return {
  "left", redis.call("TIME"), redis.call("HGETALL", profile),
  redis.call("ZRANGE", KEYS[2], 0, -1, "WITHSCORES"), redis.call("SMEMBERS", KEYS[3]),
}
