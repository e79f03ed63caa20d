#!lua flags=allow-oom
-- Applies a chunk of a shard's stream, all of it or nothing: ids that were seen, features of customers, letters, and the
-- position in the stream. It is let through when the store's memory is full: what was applied can be trimmed.
--
-- KEYS  1 the shard's worker (hash)
--       2 its dead letters (stream)
--       then a set for each bucket of ids, then a hash for each customer
-- ARGV  1 token by which the shard is held
--       2 position that was read from; 3 position after the chunk
--       4 generations of ids (MessagePack); empty: as they were
--       5 erasures in the shard when customers were read
--       6 number of buckets, 7 number of customers, 8 number of letters, 9 letters kept, 10 when the ids expire (Unix ms)
--       then for each bucket: n, n ids
--       then for each customer: ms to keep it, 'g' or '>', n, n of {field, value}: groups that changed, or who it became
--       then the letters
--
-- Returns 1; 0 where another worker holds the shard now; -1 where the position moved, as after a commit whose answer was
-- lost; -2 where a customer of the shard was erased meanwhile: read and fold again.
local held = redis.call('HMGET', KEYS[1], 'token', 'position', 'erasures')
if held[1] ~= ARGV[1] then return 0 end
if (held[2] or '0-0') ~= ARGV[2] then return -1 end
if (held[3] or '0') ~= ARGV[5] then return -2 end

local buckets, customers, letters = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local at = 11
for i = 1, buckets do
  local n = tonumber(ARGV[at])
  redis.call('SADD', KEYS[2 + i], unpack(ARGV, at + 1, at + n))
  redis.call('PEXPIREAT', KEYS[2 + i], ARGV[10])
  at = at + 1 + n
end
for i = 1, customers do
  local key = KEYS[2 + buckets + i]
  local n = tonumber(ARGV[at + 2])
  if ARGV[at + 1] == '>' then redis.call('DEL', key) end
  redis.call('HSET', key, unpack(ARGV, at + 3, at + 2 + 2 * n))
  redis.call('PEXPIRE', key, ARGV[at])
  at = at + 3 + 2 * n
end
for i = 1, letters do
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[9], '*', 'e', ARGV[at])
  at = at + 1
end
if ARGV[4] == '' then
  redis.call('HSET', KEYS[1], 'position', ARGV[3])
else
  redis.call('HSET', KEYS[1], 'position', ARGV[3], 'seen', ARGV[4])
end
return 1
