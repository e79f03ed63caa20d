#!lua
-- Keeps a group of shards for longer (or gives it back, with 0), and with it what is known of it, all at once.
--
-- KEYS  1 the group's hash
-- ARGV  1 the token that was given when it was taken
--       2 for how long from now, in ms of the store's clock
--       3 the new state; empty: as it is
--
-- Returns 1; or 0, and changes nothing, where somebody took it since.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2]))
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'state', ARGV[3]) end
return 1
