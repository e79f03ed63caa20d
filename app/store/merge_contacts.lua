#!lua
-- Contacts of a customer who became another one, at that other one: what was sent while the store was away, and is logged
-- now; or what a commit of unknown fate had reserved, and is taken back.
--
-- KEYS  1 profile (hash)  2 ledger (zset)
-- ARGV  1 "add" or "remove"  2 ms to keep the ledger  3… score (ms), member of every contact
-- Returns {"done"}, also when it was; {"wait", ms}: contacts may still be on their way from the customer whose they were,
--         and would come back; or {"merged", customer}: this one became that one meanwhile.
local WAIT_MS = 200
local profile, ledger = KEYS[1], KEYS[2]
local mark = redis.call('HGET', profile, '!m') or ''
if string.sub(mark, 1, 1) == '>' then return {'merged', string.sub(mark, 2)} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('ZRANGE', ledger, 0, -1)
local moved = 0

if ARGV[1] == 'add' then
  if string.find(redis.call('HGET', profile, '!e') or '', ',') then return {'done'} end
  -- A ledger that the store has lost stays lost: with one contact in it, it would pass for whole and open every limit.
  local last = tonumber(redis.call('HGET', profile, '!t') or '')
  if #known == 0 and last and now - last < tonumber(ARGV[2]) then return {'done'} end
  local decisions = {}
  for _, member in ipairs(known) do decisions[string.sub(member, 1, 14)] = true end
  for i = 3, #ARGV, 2 do
    if not decisions[string.sub(ARGV[i + 1], 1, 14)] then
      moved = moved + redis.call('ZADD', ledger, ARGV[i], ARGV[i + 1])
    end
  end
  if moved > 0 then
    redis.call('HSET', profile, '!t', string.format('%.0f', now))
    redis.call('PEXPIRE', ledger, ARGV[2])
  end
else
  if mark == 'p' then return {'wait', WAIT_MS} end
  for i = 3, #ARGV, 2 do moved = moved + redis.call('ZREM', ledger, ARGV[i + 1]) end
  if moved > 0 then
    local left = redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')
    if left[2] then
      redis.call('HSET', profile, '!t', string.format('%.0f', math.min(tonumber(left[2]), now)))
    else
      redis.call('HDEL', profile, '!t')
    end
  end
end
if moved > 0 then redis.call('HINCRBY', profile, '!l', moved) end
return {'done'}
