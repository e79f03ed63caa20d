-- Notes that an identity was looked at, unless its claims changed meanwhile: then somebody must look again.
-- KEYS[1]  claims (hash, described in claims_record.lua)
-- ARGV     how often they had changed when they were read, mark ("=" settled, "~" shared, "" neither), its value
-- Returns 1 when it is closed
local claims = KEYS[1]
if redis.call("EXISTS", claims) == 0 then return 1 end
if ARGV[2] ~= "" then redis.call("HSET", claims, ARGV[2], ARGV[3]) end
if ARGV[2] == "=" then redis.call("HDEL", claims, "~") end
if (redis.call("HGET", claims, "?") or "0") ~= ARGV[1] then return 0 end
redis.call("HDEL", claims, "?")
return 1
