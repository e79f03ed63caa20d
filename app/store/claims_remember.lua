-- Remembers identity keys beside a customer, and forgets others, in the set that `app.store.aliases` keeps.
-- KEYS[1]  aliases (set)
-- ARGV     ms to keep, how many keys the set may hold at most, how many to forget, those, then the ones to remember
local aliases, most, forget = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local new = redis.call("EXISTS", aliases) == 0
for i = 4, 3 + forget do redis.call("SREM", aliases, ARGV[i]) end
local held = redis.call("SCARD", aliases)
for i = 4 + forget, #ARGV do
  if held < most then held = held + redis.call("SADD", aliases, ARGV[i]) end
end
-- A suppressed customer's set does not end.
if new or redis.call("PTTL", aliases) ~= -1 then redis.call("PEXPIRE", aliases, ARGV[1]) end
return 0
