#!lua
-- A repeat of an idempotency key is about to get the kept answer: from now on its contacts cannot be released.
--
-- KEYS  1 idempotency record: base id (13 bytes), hash of the request (16), "=" or "?" (1), answer
--
-- Returns the record, or nil when it was taken back (or its time was up) since it was read.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('SETRANGE', KEYS[1], 29, '=')
return redis.call('GET', KEYS[1])
