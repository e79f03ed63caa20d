-- The winner's slot: takes in what is known of the loser's mail beyond single decisions. Harmless to repeat.
-- KEYS  1 what is known of a customer's mail (hash, described in outcome.lua)
-- ARGV  1 ms to keep it at the least  2… field, value of the loser's
local mail = KEYS[1]
for i = 2, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  local before = redis.call("HGET", mail, field)
  if not before then
    redis.call("HSET", mail, field, value)
  elseif string.sub(field, 1, 1) == "^" and tonumber(value) > tonumber(before) then  -- the latest lifting
    redis.call("HSET", mail, field, value)
  end
end
if redis.call("PTTL", mail) < tonumber(ARGV[1]) then redis.call("PEXPIRE", mail, ARGV[1]) end
return 1
