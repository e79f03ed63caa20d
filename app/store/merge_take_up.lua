-- Hands out merges that whoever began them seems to have left, and notes that they are being tried.
--
-- KEYS[1]  ctl:merges   hash, described in merge_begin.lua
-- ARGV     ms since the last try, how many at most
-- Returns {loser, winner, begun ms, id of who, why} of each.
local merges, most = KEYS[1], tonumber(ARGV[2])
local noted = redis.call("HGETALL", merges)
if #noted == 0 then return {} end
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local taken = {}
for i = 1, #noted, 2 do
  local winner, begun, tried, rest = string.match(noted[i + 1], "^(%S+) (%d+) (%d+) (.*)$")
  if #taken < most and now - tried >= tonumber(ARGV[1]) then
    redis.call("HSET", merges, noted[i], winner .. " " .. begun .. " " .. string.format("%.0f", now) .. " " .. rest)
    local who, why = string.match(rest, "^(%S+) ?(.*)$")
    taken[#taken + 1] = {noted[i], winner, tonumber(begun), who, why}
  end
end
return taken
