-- Erases a customer, in its slot and in one step: all that lies under its key goes, a tombstone stays.
--
-- KEYS  1 profile (hash)  2 features (hash)  3 ledger (zset)  4 history (list)  5 merges (hash)
--       6 aliases (set)  7 the shard's worker (hash)  8 what is known of the customer's mail (hash)
-- ARGV  1 id of the erasure   2 id of the suppression's source
-- Returns {"erased", ms, id of the erasure}: since then, and by which; an earlier one where the tombstone stood already; or
--         {"merged", customer}: this customer became that one, erase that; or {"merging"}: another one is on its way into
--         this one, wait until it is here.
--
-- The tombstone  !g  one more than before: a decision in flight finds that it moved     !u  now
--                !s, -*:erased  the suppression, so that whoever reads a profile heeds it
--                !e  `<ms>,<id of the erasure>`; once a later consent ended it `<ms>` alone
-- The aliases stay, without an end, and lead here: who comes back by one is known to be erased. The worker is told to
-- read again what it is about to write.
local profile = KEYS[1]
local mark = redis.call("HGET", profile, "!m") or ""
if string.sub(mark, 1, 1) == ">" then return {"merged", string.sub(mark, 2)} end
if mark ~= "" then return {"merging"} end
local at, erasure = string.match(redis.call("HGET", profile, "!e") or "", "^(%d+),(.+)$")
if erasure then return {"erased", tonumber(at), erasure} end

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format("%.0f", now)
local version = tonumber(redis.call("HGET", profile, "!g") or 0) + 1
redis.call("UNLINK", KEYS[8], unpack(KEYS, 1, 5))
redis.call(
  "HSET", profile, "!g", version, "!u", now_text, "!s", 1, "-*:erased", now_text .. "," .. ARGV[2],
  "!e", now_text .. "," .. ARGV[1]
)
redis.call("PERSIST", KEYS[6])
redis.call("HINCRBY", KEYS[7], "erasures", 1)
return {"erased", now, ARGV[1]}
