#!lua
-- Takes back a commit whose fate is unknown to the node that made it and whose answer was `suppress`: all or nothing.
-- To be run when commit_by has passed, since from then on the commit can no longer be applied.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 decision log (stream)
--       then the idempotency record, when the caller sent a key (ARGV 3 is "1")
--       then one `decision id → customer` key for every contact, at least one
-- ARGV  1 commit_by: the store's clock, ms
--       2 base id of the request's decisions (13 bytes), with which the idempotency value begins
--       3 "1" when there is an idempotency key, else "0"
--       4… member of every contact
--
-- Returns {"wait", ms}: too early; {"absent"}: the commit was never applied; {"released"}, also when it was already,
-- and whom the customer became meanwhile, where the contacts may lie by now: they must be taken back there too
-- (merge_contacts.lua); {"answered"}: a repeat of the idempotency key got the answer since, so that it stands.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local commit_by = tonumber(ARGV[1])
if now <= commit_by then return {'wait', commit_by - now + 1} end

local idempotency = ARGV[3] == '1' and KEYS[4]
local first = idempotency and 5 or 4
local customer = redis.call('GET', KEYS[first])
if not customer then return {'absent'} end
local became = string.match(redis.call('HGET', KEYS[1], '!m') or '', '^>(.+)$')
if customer == 'aborted' then return {'released', became} end

local kept = idempotency and redis.call('GETRANGE', idempotency, 0, 29) or ''
local ours = string.sub(kept, 1, #ARGV[2]) == ARGV[2]
if ours and string.sub(kept, 30) == '=' then return {'answered'} end

redis.call('ZREM', KEYS[2], unpack(ARGV, 4))
redis.call('HINCRBY', KEYS[1], '!l', 1)
-- The last contact is now an earlier one, or none: a ledger that is rightly empty must not look lost.
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
-- Nor must one that is yet to come: by its time the ledger may have been forgotten.
if last[2] then
  redis.call('HSET', KEYS[1], '!t', string.format('%d', math.min(last[2], now)))
else
  redis.call('HDEL', KEYS[1], '!t')
end
if ours then redis.call('DEL', idempotency) end
redis.call('XADD', KEYS[3], '*', 'aborted', ARGV[2])
for i = first, #KEYS do redis.call('SET', KEYS[i], 'aborted', 'KEEPTTL') end
return {'released', became}
