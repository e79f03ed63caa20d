#!lua
-- Keeps conversions of a customer that are not attributed yet, in the customer's slot, and answers with all that are
-- kept. What is kept already stays as it is: so an event that is worked off twice counts once.
--
-- KEYS  1 profile (hash)  2 what is known of the customer's mail beyond decisions (hash; see outcome.lua)
-- ARGV  1 ms to keep them  2 at most so many  3… field (`v` and 8 bytes), value of each
--
-- Returns {"ok", how many were kept before, field, value, …}: the new ones come last; {"merged", customer}: this customer became another one; {"erased"}.
-- e.g. EVALSHA sha 2 {s017}:p:cus_1 {s017}:w:cus_1 7776000000 200 v… …
local marks = redis.call('HMGET', KEYS[1], '!m', '!e')
if marks[1] and string.sub(marks[1], 1, 1) == '>' then return {'merged', string.sub(marks[1], 2)} end
if string.find(marks[2] or '', ',') then return {'erased'} end

local found, stored = {'ok', 0}, redis.call('HGETALL', KEYS[2])
for i = 1, #stored, 2 do
  if string.sub(stored[i], 1, 1) == 'v' then
    found[#found + 1] = stored[i]
    found[#found + 1] = stored[i + 1]
  end
end
found[2] = (#found - 2) / 2
for i = 3, #ARGV, 2 do
  if (#found - 2) / 2 < tonumber(ARGV[2]) and redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    found[#found + 1] = ARGV[i]
    found[#found + 1] = ARGV[i + 1]
  end
end
if #ARGV > 2 and redis.call('PTTL', KEYS[2]) < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[2], ARGV[1]) end
return found
