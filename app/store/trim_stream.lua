-- Lets go of the beginning of a stream that has grown beyond its share, in whole nodes; where an archiver exists, of
-- nothing that it has not archived. Shared by scripts that append to the decision log or to the outcomes.
--
-- stream, worker: keys; entries_max: its share; archived: the field of the worker in which an archiver says how far it is
local function trim_stream(stream, entries_max, worker, archived)
  local excess = redis.call('XLEN', stream) - entries_max
  if excess <= 0 then return end
  local position = redis.call('HGET', worker, archived)
  if position then
    redis.call('XTRIM', stream, 'MINID', '~', position, 'LIMIT', string.format('%d', excess))
  else
    redis.call('XTRIM', stream, 'MAXLEN', '~', string.format('%d', entries_max))
  end
end
