-- Merges one customer write into the profile: all of it or, when a time cannot be, nothing.
--
-- KEYS[1]  profile   hash, its fields are described in profile.py
-- KEYS[2]  aliases   set of the identity keys that point to this customer
-- KEYS[3]  history   list, described in history.lua, which stands before this file
-- ARGV[1]  MessagePack array:
--   1  ttl, ms, of all keys; a profile that holds a suppression has none, and its aliases and history neither
--   2  field, value, …       set, moves no version: attributes, language
--   3  field, …              deleted, moves no version
--   4  field, value, …       set, moves the general version when it differs: region, zone, preferences
--   5  field, …              deleted, moves the general version when it was there
--   6  field, …              as-of times: set to now
--   7  field, `<g|d><basis id>,<source id>`, at ms, expires ms, …   consents; at -1 means now, expires -1 never
--   8  identity key, …       aliases to remember
--   9  attribute field, field of its own time, field of its owner's time, ms, …   attributes that this write does not
--                            name: deleted when they were set longer ago than that
--  10  id of who writes      11  why, "" for no reason of its own
--
-- Returns {0, now ms}: refused, a consent's time is more than 5 s ahead of the store's clock; or
--         {2, customer}: this customer became that one, write there; or
--         {3, now ms}: refused, a consent ends before it begins; or
--         {4}: refused, the customer was erased, and no consent of the write was given after that; or
--         {1, now ms, general version, `1` or `0` for each consent: applied or older than what is stored,
--          1 when there are aliases whose own ttl must be renewed, suppressions held}.
--
-- Consent: the later time wins, and at the same time the stricter state; of two grants of one time the one that ends
-- first, of two refusals the one that ends last. A time within the 5 s is taken as now, so that no stored time can lie
-- ahead of a withdrawal that comes next.
--
-- Who was erased (`!e`) is unknown again: consents from before are passed over, and the first one granted after it ends
-- the erasure. Until then only refusals are written.
--
-- One read and one write of the hash: an import runs this ten thousand times a second.
local AHEAD_MS = 5000
local profile, aliases, history = KEYS[1], KEYS[2], KEYS[3]
local ttl, sets, deletes, general, general_deletes, as_of, consents, identities, aging, who, why =
  unpack(cmsgpack.unpack(ARGV[1]))
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format("%.0f", now)

for i = 1, #consents, 4 do
  local at, expires = consents[i + 2], consents[i + 3]
  if at > now + AHEAD_MS then return {0, now} end
  if expires >= 0 and expires <= (at < 0 and now or at) then return {3, now} end
end

local fields = {"!g", "!s", "!m", "!r", "!e"}
for i = 1, #general, 2 do
  fields[#fields + 1] = general[i]
end
for i = 1, #consents, 4 do
  fields[#fields + 1] = consents[i]
end
for i = 1, #aging, 4 do
  for j = i, i + 2 do
    fields[#fields + 1] = aging[j]
  end
end
local stored = {}
for i, value in ipairs(redis.call("HMGET", profile, unpack(fields))) do
  stored[fields[i]] = value
end
if stored["!m"] and string.sub(stored["!m"], 1, 1) == ">" then
  return {2, string.sub(stored["!m"], 2)}
end

-- Which consents are from before an erasure, and whether one ends it.
local erased_at, erasure = string.match(stored["!e"] or "", "^(%d+),?(.*)$")
local unsaid, ended = {}, false
if erased_at then
  for i = 1, #consents, 4 do
    local at = consents[i + 2]
    unsaid[i] = at >= 0 and math.min(at, now) <= tonumber(erased_at)
    ended = ended or (erasure ~= "" and not unsaid[i] and string.sub(consents[i + 1], 1, 1) == "g")
  end
  local others = #sets + #deletes + #general + #general_deletes + #identities
  if erasure ~= "" and not ended and others > 0 then return {4} end
end

local changed = false
local changes = {}
local function set(field, value)
  stored[field] = value
  sets[#sets + 1] = field
  sets[#sets + 1] = value
  changed = true
end

local function is_stricter(head, expires, old_head, old_expires)
  local state, old_state = string.sub(head, 1, 1), string.sub(old_head, 1, 1)
  if state ~= old_state then return state == "d" end
  if state == "d" then expires, old_expires = old_expires, expires end
  return expires >= 0 and (old_expires < 0 or expires < old_expires)
end

if ended then
  redis.call("HDEL", profile, "-*:erased")
  stored["!s"] = tonumber(stored["!s"] or 1) - 1
  if stored["!s"] <= 0 then redis.call("HDEL", profile, "!s") else set("!s", stored["!s"]) end
  set("!e", erased_at)
  changes[1] = "~*:erased"
end

local applied = {}
local function apply(field, head, at, expires)
  local old_head, old_at, old_expires
  if stored[field] then
    -- What cannot be read does not stand in the way of what a customer says now.
    old_head, old_at, old_expires = string.match(stored[field], "^([^,]*,[^,]*),(%d+),?(%d*)$")
    old_at, old_expires = tonumber(old_at or 0), tonumber(old_expires or "") or -1
  end
  if at < 0 then
    -- Now is never before what is stored, even after the store's clock was set back.
    at = math.max(now, old_at or 0, erased_at and erased_at + 1 or 0)
  else
    at = math.min(at, now)
  end
  local value = head .. "," .. string.format("%.0f", at)
  if expires >= 0 then value = value .. "," .. string.format("%.0f", expires) end
  local wins = not old_head or at > old_at or (at == old_at and is_stricter(head, expires, old_head, old_expires))
  local same = not wins and value == stored[field]
  if wins then
    set(field, value)
    changes[#changes + 1] = "c" .. field .. "=" .. value
  elseif not same then
    local late = "x" .. field .. "=" .. value
    if not is_remembered(history, late) then changes[#changes + 1] = late end
  end
  return (wins or same) and "1" or "0"
end
for i = 1, #consents, 4 do
  applied[#applied + 1] = unsaid[i] and "0" or apply(consents[i], consents[i + 1], consents[i + 2], consents[i + 3])
end

for i = 1, #general, 2 do
  if stored[general[i]] ~= general[i + 1] then
    if general[i] == "!r" then changes[#changes + 1] = "r" .. general[i + 1] end
    set(general[i], general[i + 1])
  end
end
if #general_deletes > 0 and redis.call("HDEL", profile, unpack(general_deletes)) > 0 then
  changed = true
  for i = 1, #general_deletes do
    if general_deletes[i] == "!r" and stored["!r"] then changes[#changes + 1] = "r" end
  end
end

for i = 1, #aging, 4 do
  local attribute, own, owner = aging[i], aging[i + 1], aging[i + 2]
  local set_at = stored[own] or stored[owner]
  if stored[attribute] and (not set_at or now - set_at >= aging[i + 3]) then
    deletes[#deletes + 1] = attribute
    deletes[#deletes + 1] = own
  elseif stored[attribute] and not stored[own] then
    -- Set before the bundle said that it shall be deleted: its owner's time, which is about to move, begins its own.
    sets[#sets + 1] = own
    sets[#sets + 1] = set_at
  end
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
remember(history, now_text, who, changes, why)

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
  redis.call("PEXPIRE", history, ttl)
end
return {1, now, version, table.concat(applied), renew and 1 or 0, suppressions}
