#!lua
-- Notes what a decision earned where its outcomes lie, when its customer became another one; once.
--
-- KEYS  1 what is known of the decision (hash)
-- ARGV  1 the reward
-- Returns the reward that stands there, or nothing where the hash is gone.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HSETNX', KEYS[1], '$', ARGV[1])
return redis.call('HGET', KEYS[1], '$')
