#!lua
-- Leases a portion of a budget's window to one process, or takes one back that was not used.
--
-- KEYS  1 the window's count of leased sends (string)
-- ARGV  1 how many are wanted; negative: how many come back
--       2 how many the window holds in all
--       3 when the count may be forgotten (Unix ms): after the window's end
--
-- Returns {granted, left for others}. Never grants more than is left: what was leased to a process that died stays
-- leased until the window ends.
local leased = tonumber(redis.call('GET', KEYS[1]) or 0)
local wanted, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local granted = math.max(math.min(wanted, most - leased), -leased)
if wanted > 0 then granted = math.max(granted, 0) end
if granted ~= 0 then
  leased = redis.call('INCRBY', KEYS[1], granted)
  redis.call('PEXPIREAT', KEYS[1], ARGV[3])
end
return {granted, math.max(most - leased, 0)}
