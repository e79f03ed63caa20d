#!lua
-- Writes down what a decision earned, once, in the slot of the decision's shard; or sees that nothing is to be written.
-- Whoever is killed before it leaves the decision due; whoever comes after it finds that it is not due any more.
--
-- KEYS  1 decisions whose reward is due (zset)  2 outcomes (stream)  3 what is known of the decision (hash)
--       4 profile of the customer who was asked for (hash)  5 the shard's worker (hash)
-- ARGV  1 decision id (14 bytes) and kind of contact, as it is due    2 when it was decided, ms
--       3 how many fields the hash had when the reward was worked out, or "*": it was worked out from another one
--       4 the reward as the hash keeps it, or "": nothing is written but that it is not due any more
--       5 stream: at most about this many entries
--       6… field, value of the stream's entry
--
-- Returns {"closed"}; {"again"}: it is not due, so somebody else closed it; {"moved"}: more was told meanwhile, so it
--         stays due; {"erased"}: the customer was, after it was decided.
--
-- e.g. EVALSHA sha 5 {s017}:due {s017}:outcomes {s017}:o:dec_… {s017}:p:cus_1 {s017}:worker … 4 1 100000 t rewarded …
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {'again'} end
if ARGV[3] ~= '*' and redis.call('HLEN', KEYS[3]) ~= tonumber(ARGV[3]) then return {'moved'} end
redis.call('ZREM', KEYS[1], ARGV[1])
if ARGV[4] == '' then return {'closed'} end
local erased = string.match(redis.call('HGET', KEYS[4], '!e') or '', '^%d+')
if erased and tonumber(ARGV[2]) <= tonumber(erased) then return {'erased'} end
-- Of what nothing was ever told nothing is kept: the entry says all, and it would be a key more for every sending.
if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('HSET', KEYS[3], '$', ARGV[4]) end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 6))
trim_stream(KEYS[2], tonumber(ARGV[5]), KEYS[5], 'archived_outcomes')
return {'closed'}
