-- Commands that are run all at once: MULTI, in a form that pipelines to a cluster know.
--
-- KEYS  every key that the commands touch
-- ARGV  for each command: how many words it has, and the words
-- Returns the replies, in their order.
local replies, at = {}, 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, at + words))
  at = at + 1 + words
end
return replies
