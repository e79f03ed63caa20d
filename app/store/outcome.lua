#!lua
-- Takes down one outcome of a message that was sent, with all that follows from it, or nothing; in the customer's slot.
-- What follows from which type is said by app/core/outcomes.py; here stands how a contact's standing is worked out from
-- all that was said of it, in whatever order it came.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 outcomes of the decision (hash, see below)  4 variants (hash)
--       5 history of the customer (list, described in history.lua, which stands before this file)
-- ARGV  1 decision id (14 bytes)
--       2 fingerprint (8 bytes) by which a repeat is known, or ""
--       3 type                                      4 when: ms, or "-1" for now
--       5 the decision's own time, ms: nothing happened before it
--       6 what it says of the sending: "s" sent, "r" reached, "x" failed, "n" unsent, or ""
--       7 "e" the customer engaged, "ep" and responded, or ""
--       8 value of a conversion, or ""              9 kind id of the contact, or "" where it is not known
--      10 profile field of the last time, without the kind id behind it, or ""
--      11 profile: last times before so many ms ago are forgotten
--      12 suppression field to set, or ""          13 its source id
--      14 suppression field to lift, or ""
--      15 counter of the variant, or ""
--      16 ms to keep the outcomes                  17 ms to keep the ledger          18 ms to keep a profile
--      19 id of who tells it, for the history      20 why, "" for no reason of its own
--      21 "1" when the customer who was sent it became this one
--      22… field, value of what was taken down while it was that one, with which this customer's hash begins
--
-- Returns {"ok", ms, effect, …}; {"known", ms}: a repeat, nothing is written; {"future", now ms}: more than 5 s ahead of
-- the store's clock; {"merged", customer, hash}: this customer became another one, to whom it must be told, with what was
-- taken down here; {"merging"}: what that customer held may not be here yet, so it must be told again a little later;
--         {"erased"}: the customer was, after this was decided.
--
-- The hash holds  s x n (latest), r (earliest): times, ms        e p: the customer engaged, responded
--                 k: kind id     v: counter of the variant       c: what is counted there, sends and responses
--                 ^<suppression field>: latest time it was lifted
--                 <fingerprint>: <type>,<ms>[,<value>], every outcome as it was told
--
-- e.g. EVALSHA sha 5 {s017}:p:cus_1 {s017}:l:cus_1 {s017}:o:dec_… {s017}:variants {s017}:h:cus_1 … opened 1795514400000 …
local AHEAD_MS = 5000
-- Opens and clicks that are remembered one by one. More of them, from one sending, come from machines; they say nothing
-- new, and repeating them is harmless.
local LOOKS_MAX = 500
local VARIANTS_TTL_S = 400 * 86400  -- of a shard in which nothing compared was sent for longer than a year

local profile, ledger, outcomes, variants, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, fingerprint, type_said, stop, lift = ARGV[1], ARGV[2], ARGV[3], ARGV[12], ARGV[14]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local at = tonumber(ARGV[4])
if at > now + AHEAD_MS then return {'future', now} end
if at < 0 or at > now then at = now end
at = math.max(at, tonumber(ARGV[5]))

local merge = redis.call('HGET', profile, '!m')
if merge and string.sub(merge, 1, 1) == '>' then
  return {'merged', string.sub(merge, 2), redis.call('HGETALL', outcomes)}
end
if merge == 'p' and ARGV[21] then return {'merging'} end
local erased = string.match(redis.call('HGET', profile, '!e') or '', '^%d+')
if erased and tonumber(ARGV[5]) <= tonumber(erased) then return {'erased'} end

local known, learnt, entries = {}, {}, redis.call('HGETALL', outcomes)
if #entries == 0 then
  entries = {unpack(ARGV, 22)}
  learnt = {unpack(ARGV, 22)}
end
for i = 1, #entries, 2 do known[entries[i]] = entries[i + 1] end
if fingerprint == '' then fingerprint = '@' .. type_said .. text(now) end
if known[fingerprint] then
  return {'known', tonumber(string.match(known[fingerprint], '^[^,]*,(%d+)'))}
end

local function learn(field, value)
  known[field] = value
  learnt[#learnt + 1] = field
  learnt[#learnt + 1] = value
end
local function time_of(field)
  return tonumber(known[field])
end
local effects = {}
local function did(effect)
  effects[#effects + 1] = effect
end

-- The set of what is known grows.
if ARGV[6] ~= '' then
  local before = time_of(ARGV[6])
  local keep = ARGV[6] == 'r' and math.min or math.max
  learn(ARGV[6], text(before and keep(before, at) or at))
end
local engaged_now = ARGV[7] ~= '' and not known.e
for letter in string.gmatch(ARGV[7], '.') do learn(letter, '1') end

-- Where the contact stands: the instant of sending; or false, it does not count; or nil, nothing was said yet.
local function standing()
  local sent, reached, failed, unsent = time_of('s'), time_of('r'), time_of('x'), time_of('n')
  if reached then return math.min(sent or reached, reached) end
  if sent and sent > (failed or -1) and sent >= (unsent or -1) then return sent end
  if failed or unsent then return false end
  return nil
end
local instant = standing()

local member, score
entries = redis.call('ZRANGE', ledger, 0, -1, 'WITHSCORES')
for i = 1, #entries, 2 do
  if string.sub(entries[i], 1, 14) == id then member, score = entries[i], tonumber(entries[i + 1]) end
end
local kind = known.k or (ARGV[9] ~= '' and ARGV[9]) or (member and string.match(string.sub(member, 15), '^[^,]*')) or ''
if kind ~= '' and not known.k then learn('k', kind) end

-- A ledger that the store has lost stays lost: with one contact in it, it would pass for whole and open every limit.
local last_contact = tonumber(redis.call('HGET', profile, '!t') or '')
local lost = #entries == 0 and last_contact and now - last_contact < tonumber(ARGV[17])

local fresh = redis.call('EXISTS', profile) == 0
local moved = false
if instant and not lost and kind ~= '' then
  local wanted = id .. kind .. ',0,s' .. (known.e or ''):gsub('1', 'e')
  if wanted ~= member or instant ~= score then
    local confirmed = member and string.find(string.sub(member, 15), ',%d+,s')
    if member and wanted ~= member then redis.call('ZREM', ledger, member) end
    redis.call('ZADD', ledger, text(instant), wanted)
    if not confirmed or instant ~= score then did('contact_sent') end
    if engaged_now then did('contact_engaged') end
    moved = true
  end
elseif instant == false and member then
  redis.call('ZREM', ledger, member)
  did('contact_released')
  moved = true
end
if moved then
  -- A ledger that is rightly empty must not look lost, and one that is not must outlive the time of its last contact.
  local last = redis.call('ZRANGE', ledger, -1, -1, 'WITHSCORES')
  if last[2] then
    redis.call('HSET', profile, '!t', text(math.min(tonumber(last[2]), now)))
    redis.call('PEXPIRE', ledger, ARGV[17])
  else
    redis.call('HDEL', profile, '!t')
  end
end

-- Pauses after outcomes are counted from the last one of a kind.
if ARGV[10] ~= '' then
  local field = ARGV[10] .. kind
  local before = redis.call('HGET', profile, field)
  if not before or at > (tonumber(before) or -1) then
    if not before then
      local stored = redis.call('HGETALL', profile)
      for i = 1, #stored, 2 do
        if string.sub(stored[i], 1, 1) == '+' and (tonumber(stored[i + 1]) or now) < now - ARGV[11] then
          redis.call('HDEL', profile, stored[i])
        end
      end
    end
    redis.call('HSET', profile, field, text(at))
    did('kept_for_pauses')
    moved = true
  end
end
if moved then redis.call('HINCRBY', profile, '!l', 1) end

-- Suppressions, as suppress.lua and lift.lua set and lift them. What is said again moves the time forward, so that it is
-- not lifted by a word that is older than the last of it.
local general, left, changes = false, nil, {}
if stop ~= '' and at >= (time_of('^' .. stop) or -1) then
  local stored = redis.call('HGET', profile, stop)
  local before, source = string.match(stored or '', '^(%d+)(.*)$')
  local value = text(at) .. (source or ',' .. ARGV[13])
  if not stored then
    redis.call('HINCRBY', profile, '!s', 1)
    did('suppressed')
    general = true
  end
  if not stored or (before and at > tonumber(before)) then
    redis.call('HSET', profile, stop, value)
    changes[1] = stop .. '=' .. value
  end
end
if lift ~= '' then
  learn('^' .. lift, text(math.max(time_of('^' .. lift) or 0, at)))
  local since = tonumber(string.match(redis.call('HGET', profile, lift) or '', '^%d+'))
  -- At the same instant the stricter one holds; a time that cannot be read is lifted by nothing.
  if since and since < at then
    redis.call('HDEL', profile, lift)
    left = redis.call('HINCRBY', profile, '!s', -1)
    if left <= 0 then redis.call('HDEL', profile, '!s') end
    did('suppression_lifted')
    general = true
    changes[1] = '~' .. string.sub(lift, 2)
  end
end
if general then
  redis.call('HINCRBY', profile, '!g', 1)
  redis.call('HSET', profile, '!u', text(now))
end
remember(history, text(now), ARGV[19], changes, ARGV[20])
if tonumber(redis.call('HGET', profile, '!s') or 0) > 0 then
  redis.call('PERSIST', profile)
  redis.call('PERSIST', history)
elseif fresh or left then
  redis.call('PEXPIRE', profile, ARGV[18])
  redis.call('PEXPIRE', history, ARGV[18])
end

-- A variant is counted once a sending, and its response once; a sending is taken back with its contact.
local variant = known.v or ARGV[15]
if variant ~= '' then
  if not known.v then learn('v', variant) end
  local sends, responses = instant and 1 or 0, known.p and 1 or 0  -- who responds has received it
  local counted = known.c or '00'
  local sends_by = sends - tonumber(string.sub(counted, 1, 1))
  local responses_by = responses - tonumber(string.sub(counted, 2, 2))
  if sends_by ~= 0 then redis.call('HINCRBY', variants, variant .. ':n', sends_by) end
  if responses_by ~= 0 then redis.call('HINCRBY', variants, variant .. ':r', responses_by) end
  if sends_by ~= 0 or responses_by ~= 0 then
    redis.call('EXPIRE', variants, VARIANTS_TTL_S)
    learn('c', sends .. responses)
  end
end

if not (type_said == 'opened' or type_said == 'clicked') or redis.call('HLEN', outcomes) < LOOKS_MAX then
  learn(fingerprint, type_said .. ',' .. text(at) .. (ARGV[8] ~= '' and ',' .. ARGV[8] or ''))
end
if #learnt > 0 then redis.call('HSET', outcomes, unpack(learnt)) end
redis.call('PEXPIRE', outcomes, ARGV[16])
return {'ok', at, unpack(effects)}
