#!lua flags=allow-oom
-- Raises watermarks; none is ever lowered.
--
-- KEYS  1 the watermarks (hash)
-- ARGV  name, Unix ms, name, Unix ms, …
for i = 1, #ARGV, 2 do
  local known = redis.call('HGET', KEYS[1], ARGV[i])
  if not known or tonumber(known) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return redis.status_reply('OK')
