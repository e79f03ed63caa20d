#!lua flags=allow-oom
-- Takes, renews or gives back the lease on a shard's stream, by the store's clock.
--
-- KEYS  1 the shard's worker (hash)
-- ARGV  1 owner
--       2 the token by which it is held; 0 to take it
--       3 for how long (ms); 0 gives it back
--
-- Returns {token, position, seen, archived}, or nothing where somebody else holds it. The token grows with every
-- takeover: whoever holds an older one writes nothing more (fold_commit.lua). A lease that has ended and that nobody
-- took is renewed: its token is still the newest.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'token', 'owner', 'until', 'position', 'seen', 'archived')
local token = held[1] or '0'
if ARGV[2] ~= '0' then
  if token ~= ARGV[2] then return false end
elseif held[2] ~= ARGV[1] and tonumber(held[3] or 0) > now then
  return false
else
  token = string.format('%d', token + 1)
end
local ends = ARGV[3] == '0' and 0 or now + ARGV[3]
redis.call('HSET', KEYS[1], 'token', token, 'owner', ARGV[1], 'until', string.format('%d', ends))
return {token, held[4] or '0-0', held[5] or '', held[6] or ''}
