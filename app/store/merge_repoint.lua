-- Turns one pointer to a customer who became another one to that other: an alias, or an earlier merge into it, so that
-- pointers are one deep. What points elsewhere stays as it is.
-- KEYS[1]  identity key (string), or profile (hash)      ARGV  loser, winner
local key, loser, winner = KEYS[1], ARGV[1], ARGV[2]
local kind = redis.call("TYPE", key).ok
if kind == "string" and redis.call("GET", key) == loser then
  redis.call("SET", key, winner, "KEEPTTL")
elseif kind == "hash" and redis.call("HGET", key, "!m") == ">" .. loser then
  redis.call("HSET", key, "!m", ">" .. winner)
end
return 0
