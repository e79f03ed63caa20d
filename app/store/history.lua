-- What every script does that changes a customer's consent, suppressions or region: keep it as history, in the same
-- run, so that no change is without an entry and no entry without its change. This file is put before those scripts.
--
-- The history is a list, oldest first. An entry is `<recorded at, ms> <id of who> <change>;<change>…[ <why>]`, where who
-- is a short id (`w:` in the field registry), why is free text, and a change is one of
--   c<consent field>=<its value>             a consent, in force from now on
--   x<consent field>=<its value>             one that came too late: a later or a stricter one was known
--   -<scope>:<reason>=<at ms>,<source id>    a suppression, as the profile holds it
--   ~<scope>:<reason>                        a suppression that was lifted
--   r<region>                                another region, and so another law; `r` alone: none any more
--   m<customer>                              another customer became this one
-- The list lives as long as the profile. Beyond ENTRIES_MAX the oldest entry goes that is not about a suppression.
local ENTRIES_MAX = 1000

local function forget_one(history)
  for i, entry in ipairs(redis.call("LRANGE", history, 0, -1)) do
    local changes = string.match(entry, "^%S+ %S+ (%S+)") or ""
    if not string.find(";" .. changes, ";[-~]") then
      redis.call("LSET", history, i - 1, "")
      redis.call("LREM", history, 1, "")
      return
    end
  end
  redis.call("LPOP", history)
end

-- Adds an entry, if there are changes. The caller sees to the list's time to live.
local function remember(history, now_text, who, changes, why)
  if #changes == 0 then return end
  local entry = now_text .. " " .. who .. " " .. table.concat(changes, ";")
  if why ~= "" then entry = entry .. " " .. why end
  if redis.call("RPUSH", history, entry) > ENTRIES_MAX then forget_one(history) end
end

-- Whether a change that was not applied is in the history already: an import that is repeated every night would
-- otherwise push out what did happen.
local function is_remembered(history, change)
  for _, entry in ipairs(redis.call("LRANGE", history, 0, -1)) do
    local changes = string.match(entry, "^%S+ %S+ (%S+)") or ""
    if string.find(";" .. changes .. ";", ";" .. change .. ";", 1, true) then return true end
  end
  return false
end
