-- Remembers identity keys beside a customer, and forgets others, in the set that `app.store.aliases` keeps.
-- KEYS[1]  aliases (set)      ARGV  ms to keep, how many to forget, those, then the ones to remember
local aliases, forget = KEYS[1], tonumber(ARGV[2])
local new = redis.call("EXISTS", aliases) == 0
for i = 3, 2 + forget do redis.call("SREM", aliases, ARGV[i]) end
for i = 3 + forget, #ARGV do redis.call("SADD", aliases, ARGV[i]) end
-- A suppressed customer's set does not end.
if new or redis.call("PTTL", aliases) ~= -1 then redis.call("PEXPIRE", aliases, ARGV[1]) end
return 0
