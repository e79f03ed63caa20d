#!lua flags=allow-oom
-- Notes with which plan a shard's events are folded from its position on.
--
-- KEYS  1 the shard's worker (hash)
-- ARGV  1 token by which the shard is held
--       2 the plan's digest
--       3 how many changes of plan are kept, the newest
--
-- `plans` holds `digest@position` of each change, the oldest first, with blanks in between. Returns 1; 0 where another
-- worker holds the shard now. Whoever holds the token is the only one to move the position, so nothing is folded between.
local held = redis.call('HMGET', KEYS[1], 'token', 'position', 'plans')
if held[1] ~= ARGV[1] then return 0 end
local changes = {}
for change in string.gmatch(held[3] or '', '%S+') do changes[#changes + 1] = change end
local last = changes[#changes]
if last and string.match(last, '^[^@]+') == ARGV[2] then return 1 end
changes[#changes + 1] = ARGV[2] .. '@' .. (held[2] or '0-0')
while #changes > tonumber(ARGV[3]) do table.remove(changes, 1) end
redis.call('HSET', KEYS[1], 'plans', table.concat(changes, ' '))
return 1
