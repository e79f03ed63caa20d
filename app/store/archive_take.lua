#!lua
-- Takes a group of shards for one archiver, for a while.
--
-- KEYS  1 the group's hash
-- ARGV  1 who takes it
--       2 for how long, in ms of the store's clock
--
-- Returns {token, state}: the token grows with every taking, so that whoever had it before can write no more
-- (archive_keep.lua); the state is as it was kept last, empty where it never was. Returns nothing while somebody else
-- has it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'owner', 'until', 'state')
if held[1] and held[1] ~= ARGV[1] and tonumber(held[2]) > now then return false end
local token = redis.call('HINCRBY', KEYS[1], 'token', 1)
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'until', string.format('%.0f', now + ARGV[2]))
return {token, held[3] or ''}
