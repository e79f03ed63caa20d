-- Merges one customer write into the profile: all of it or, when a time lies in the future, nothing.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- KEYS[2]  aliases   set of the identity keys that point to this customer
-- ARGV[1]  MessagePack array:
--   1  ttl, ms, of both keys; a profile that holds a suppression has none, and its aliases neither
--   2  field, value, …       set, moves no version: attributes, language
--   3  field, …              deleted, moves no version
--   4  field, value, …       set, moves the general version when it differs: region, zone, preferences
--   5  field, …              deleted, moves the general version when it was there
--   6  field, …              as-of times: set to now
--   7  field, `<g|d><basis id>,<source id>`, at ms, …   consents; at -1 means now
--   8  identity key, …       aliases to remember
--
-- Returns {0, now ms}: refused, a consent's time is more than 5 s ahead of the store's clock; or
--         {1, now ms, general version, `1` or `0` for each consent: applied or older than what is stored,
--          1 when there are aliases whose own ttl must be renewed, suppressions held}.
--
-- Consent: the later time wins, and at the same time the stricter state. A time within the 5 s is taken as now, so that
-- no stored time can lie ahead of a withdrawal that comes next.
--
-- One read and one write of the hash: an import runs this ten thousand times a second.
local AHEAD_MS = 5000
local profile, aliases = KEYS[1], KEYS[2]
local ttl, sets, deletes, general, general_deletes, as_of, consents, identities = unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format("%.0f", now)

for i = 3, #consents, 3 do
  if consents[i] > now + AHEAD_MS then
    return {0, now}
  end
end

local fields = {"!g", "!s"}
for i = 1, #general, 2 do
  fields[#fields + 1] = general[i]
end
for i = 1, #consents, 3 do
  fields[#fields + 1] = consents[i]
end
local stored = {}
for i, value in ipairs(redis.call("HMGET", profile, unpack(fields))) do
  stored[fields[i]] = value
end

local changed = false
local function set(field, value)
  stored[field] = value
  sets[#sets + 1] = field
  sets[#sets + 1] = value
  changed = true
end

local applied = {}
for i = 1, #consents, 3 do
  local field, head, at = consents[i], consents[i + 1], consents[i + 2]
  local old_head, old_at, wins
  if stored[field] then
    -- What cannot be read does not stand in the way of what a customer says now.
    old_head, old_at = string.match(stored[field], "^(.*),(%d+)$")
    old_at = tonumber(old_at or 0)
  end
  if at < 0 then
    -- Now is never before what is stored, even after the store's clock was set back.
    at = math.max(now, old_at or 0)
  else
    at = math.min(at, now)
  end
  if not old_head or at > old_at then
    wins = true
  elseif at == old_at then
    wins = string.sub(head, 1, 1) == "d" and string.sub(old_head, 1, 1) == "g"
  end
  if wins then
    set(field, head .. "," .. string.format("%.0f", at))
  end
  applied[#applied + 1] = (wins or (head == old_head and at == old_at)) and "1" or "0"
end

for i = 1, #general, 2 do
  if stored[general[i]] ~= general[i + 1] then
    set(general[i], general[i + 1])
  end
end
if #general_deletes > 0 and redis.call("HDEL", profile, unpack(general_deletes)) > 0 then
  changed = true
end
if #deletes > 0 then
  redis.call("HDEL", profile, unpack(deletes))
end

for i = 1, #as_of do
  sets[#sets + 1] = as_of[i]
  sets[#sets + 1] = now_text
end
local version = tonumber(stored["!g"] or 0)
if changed then
  version = version + 1
  sets[#sets + 1] = "!g"
  sets[#sets + 1] = string.format("%.0f", version)
end
sets[#sets + 1] = "!u"
sets[#sets + 1] = now_text
redis.call("HSET", profile, unpack(sets))

local suppressions = tonumber(stored["!s"] or 0)
if #identities > 0 then
  redis.call("SADD", aliases, unpack(identities))
end
-- Aliases are renewed with their own keys, which lie in other slots: only once a tenth of their time is gone.
local left = redis.call("PTTL", aliases)
local renew = #identities > 0
if suppressions > 0 then
  renew = renew or left >= 0
else
  renew = renew or left == -1 or (left >= 0 and left < ttl * 0.9)
  redis.call("PEXPIRE", profile, ttl)
end
return {1, now, version, table.concat(applied), renew and 1 or 0, suppressions}
