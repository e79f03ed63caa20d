-- The winner's slot: takes in what the loser held, all of it and once, if the winner has not changed since it was read.
-- What is taken in is worked out by app/core/merging.py; this file only writes it.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 aliases (set)  4 merges (hash, described in merge_expect.lua)
--       5 history (list, described in history.lua, which stands before this file)
-- ARGV  1 loser  2 begun ms  3 general version and  4 ledger version that were read
--       5 ms to keep the ledger  6 id of who  7 why ("" for no reason of its own)
--       8 "1": one of the ledgers is lost in the store; with contacts in it, it would pass for whole, and open limits
--       9 MessagePack array:  1 field, value, … to set
--                             2 {field, value, as-of field, ms, …} of each field to fill where it is missing still; its
--                               as-of times become the older ones
--                             3 changes for the history  4 keys that point to the customer
--      10… score (ms), member of every contact that the winner lacks
-- Returns {"united"}; {"done"}: it was already; {"moved"}: nothing is written, read the winner again.
local profile, ledger, aliases, merges, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local loser, begun = ARGV[1], ARGV[2]
if redis.call("HGET", merges, loser) ~= begun .. " p" then return {"done"} end
local versions = redis.call("HMGET", profile, "!g", "!l")
if (versions[1] or "0") ~= ARGV[3] or (versions[2] or "0") ~= ARGV[4] then return {"moved"} end

local sets, fills, changes, identities = unpack(cmsgpack.unpack(ARGV[9]))
if #sets > 0 then redis.call("HSET", profile, unpack(sets)) end
for _, fill in ipairs(fills) do
  if redis.call("HSETNX", profile, fill[1], fill[2]) == 1 then
    for i = 3, #fill, 2 do
      local as_of = tonumber(redis.call("HGET", profile, fill[i]) or "")
      if not as_of or tonumber(fill[i + 1]) < as_of then redis.call("HSET", profile, fill[i], fill[i + 1]) end
    end
  end
end
for _, key in ipairs(identities) do redis.call("SADD", aliases, key) end
if ARGV[8] == "1" then
  redis.call("DEL", ledger)
elseif #ARGV > 9 then
  for i = 10, #ARGV, 2 do redis.call("ZADD", ledger, ARGV[i], ARGV[i + 1]) end
  redis.call("PEXPIRE", ledger, ARGV[5])
end
redis.call("HINCRBY", profile, "!g", 1)
redis.call("HINCRBY", profile, "!l", 1)
redis.call("HSET", merges, loser, begun .. " u")

local time = redis.call("TIME")
remember(history, string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[6], changes, ARGV[7])
return {"united"}
