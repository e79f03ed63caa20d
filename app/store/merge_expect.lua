-- The winner's slot, before anything else: another customer's data is on its way, so that marketing waits.
--
-- KEYS  1 profile (hash)  2 merges (hash, see below)  3 history (list)
-- ARGV  loser, begun ms
-- Returns {"expected"}, also where it was already; {"done"}: this merge was finished by somebody else; or
--         {"merged", customer}: the winner became that one, or, with nobody's name, was erased.
--
-- The hash of merges holds  <loser> → `<begun, ms> <how far>`: p on its way, u united with the winner, d done
-- By it a process that slept through the end of a merge does not begin it again. It is kept for a day after the last.
local profile, merges, history, loser, begun = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
local mark = redis.call("HGET", profile, "!m") or ""
if string.sub(mark, 1, 1) == ">" then return {"merged", string.sub(mark, 2)} end
if string.find(redis.call("HGET", profile, "!e") or "", ",") then return {"merged", ""} end

local begun_before, far = string.match(redis.call("HGET", merges, loser) or "0 d", "^(%d+) (%a)$")
if tonumber(begun_before) > tonumber(begun) or (begun_before == begun and far == "d") then return {"done"} end
if begun_before ~= begun then redis.call("HSET", merges, loser, begun .. " p") end
redis.call("PERSIST", merges)
if mark ~= "p" then
  redis.call("HSET", profile, "!m", "p")
  redis.call("HINCRBY", profile, "!g", 1)
end
-- What is under way does not end by itself.
redis.call("PERSIST", profile)
redis.call("PERSIST", history)
return {"expected"}
