#!lua
-- Takes down one outcome, with all that follows from it, or nothing; in the customer's slot. It is one of a message that
-- was sent, or, where no decision is known, of the customer alone. What follows from which type is said by
-- app/core/outcomes.py, where a contact stands by app/core/standing.py; here it is worked out from all that was said, in
-- whatever order it came.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 outcomes of the decision (hash, see below)  4 variants (hash)
--       5 history of the customer (list, described in history.lua, which stands before this file)
--       6 what is known of the customer's mail beyond decisions (hash, see below)
--       7 outcome stream  8 event stream  9 counters of the deliverability watch (hash)
--      10 the shard's worker (hash, read by trim_stream.lua, which stands before this file too)
-- ARGV  1 decision id (14 bytes), or ""
--       2 fingerprint (8 bytes) by which a repeat is known, or ""
--       3 type                                      4 when: ms, or "-1" for now
--       5 the decision's own time, ms: nothing happened before it
--       6 what it says of the sending: "s" sent, "r" reached, "x" failed, "n" unsent, or ""
--       7 "m": a machine did it, or ""
--       8 value of a conversion, or ""              9 kind id of the contact, or "" where it is not known
--      10 profile field of the last time, without the kind id behind it, or ""
--      11 profile: last times before so many ms ago are forgotten
--      12 suppression field to set, or ""          13 its source id
--      14 suppression field to lift, or ""
--      15 counter of the variant, or ""
--      16 until when the outcomes are kept, ms     17 ms to keep the ledger          18 ms to keep a profile
--      19 id of who tells it, for the history      20 why, "" for no reason of its own
--      21 hash of the link that was clicked, or ""
--      22 the provider's id of the mail, 16 bytes, or ""
--      23 fingerprint of a soft bounce, or ""      24 so many of them  25 within so many ms  26 set this suppression
--      27 outcome stream: at most about so many entries, older ones are let go of; "": not now
--      28 customer  29 provider  30 SMTP code      31 event to be added, or ""
--      32 `<placement>/<message>/<domain>` to be counted under, or ""
--      33 "1" when the customer who was sent it became this one
--      34… field, value of what was taken down while it was that one, with which this customer's hash begins
--
-- Returns {"ok", ms, "m" or "", effect, …}; {"known", ms, …}: a repeat, nothing is written; {"future", now ms}: more than
-- 5 s ahead of the store's clock; {"merged", customer, hash}: this customer became another one, to whom it must be told,
-- with what was taken down here; {"merging"}: what that customer held may not be here yet, so it must be told again a
-- little later; {"erased"}: the customer was, after this was decided.
--
-- The hash of a decision   s x n (latest), r (earliest): times, ms       d: earliest `delivered`
--                 e p: latest look, response of a person, ms; they count from 2 s after `d` on, `1` (older): they count
--                 k: kind id     v: counter of the variant       c: what is counted there, sends and responses
--                 w: letters under which the watch counted it    #<16 bytes>: the provider's id of the mail
--                 <fingerprint>: <type>,<ms>[,<value>[,<link>[,m]]], every outcome as it was told
-- The hash of a customer   f<fingerprint>: <type>,<ms> of outcomes that no decision was found for
--                 b<fingerprint>: ms of every soft bounce        ^<suppression field>: latest time it was lifted
--                 c<decision>: kind id of contacts that do not count any more
--                 v…: app/flows/attribute.py's
--
-- e.g. EVALSHA sha 10 {s017}:p:cus_1 {s017}:l:cus_1 {s017}:o:dec_… {s017}:variants {s017}:h:cus_1 … opened 1795514400000 …
local AHEAD_MS = 5000
-- Opens and clicks that are remembered one by one. More of them, from one sending, come from machines; they say nothing
-- new, and repeating them is harmless.
local LOOKS_MAX = 500
local PERSON_AFTER_MS, SCANNED_LINKS, SCANNED_MS = 2000, 3, 1000
local VARIANTS_TTL_S = 400 * 86400  -- of a shard in which nothing compared was sent for longer than a year
local ABOUT_TTL_MS = 35 * 86400000  -- as long as outcomes are taken
local WATCH_TTL_S = 8 * 86400

local profile, ledger, outcomes, variants, history, about = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, fingerprint, type_said, stop, lift = ARGV[1], ARGV[2], ARGV[3], ARGV[12], ARGV[14]
local decided = id ~= ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local at = tonumber(ARGV[4])
if at > now + AHEAD_MS then return {'future', now} end
if at < 0 or at > now then at = now end
at = math.max(at, tonumber(ARGV[5]))

local marks = redis.call('HMGET', profile, '!m', '!e', '!t', '!s', '!g', '!l', '!u')
local merge = marks[1]
if merge and string.sub(merge, 1, 1) == '>' then
  return {'merged', string.sub(merge, 2), decided and redis.call('HGETALL', outcomes) or {}}
end
if merge == 'p' and ARGV[33] == '1' then return {'merging'} end
local erased = string.match(marks[2] or '', '^%d+')
if erased and (decided and tonumber(ARGV[5]) or at) <= tonumber(erased) then return {'erased'} end
if not decided and string.find(marks[2] or '', ',') then return {'erased'} end

if fingerprint == '' then fingerprint = '@' .. type_said .. text(now) end
local known, learnt, entries = {}, {}, {}
if decided then
  entries = redis.call('HGETALL', outcomes)
  if #entries == 0 then
    entries = {unpack(ARGV, 34)}
    learnt = {unpack(ARGV, 34)}
  end
  for i = 1, #entries, 2 do known[entries[i]] = entries[i + 1] end
else
  known[fingerprint] = redis.call('HGET', about, 'f' .. fingerprint) or nil
end
if known[fingerprint] then
  return {'known', tonumber(string.match(known[fingerprint], '^[^,]*,(%d+)')), ''}
end

local function learn(field, value)
  known[field] = value
  learnt[#learnt + 1] = field
  learnt[#learnt + 1] = value
end
local unlearnt = {}
local function time_of(field)
  return tonumber(known[field])
end
local about_moved = false
local function learn_about(field, value)
  redis.call('HSET', about, field, value)
  about_moved = true
end
local effects = {}
local function did(effect)
  effects[#effects + 1] = effect
end

-- Whether a latest look, or response, is one of a person's.
local function by_person(field)
  local latest = known[field]
  if not latest then return false end
  return latest == '1' or not known.d or tonumber(latest) >= tonumber(known.d) + PERSON_AFTER_MS
end
local was_engaged = decided and by_person('e')  -- before this one; a conversion that is known engages as well

-- The set of what is known grows.
local seen, converted, scanned = {}, false, {}
if decided then
  if ARGV[6] ~= '' then
    local before = time_of(ARGV[6])
    local keep = ARGV[6] == 'r' and math.min or math.max
    learn(ARGV[6], text(before and keep(before, at) or at))
  end
  if type_said == 'delivered' then learn('d', text(math.min(time_of('d') or at, at))) end
  local looks = type_said == 'opened' or type_said == 'clicked'
  if not looks or #entries / 2 < LOOKS_MAX then
    local entry = type_said .. ',' .. text(at) .. ',' .. ARGV[8] .. ',' .. ARGV[21] .. ',' .. ARGV[7]
    learn(fingerprint, (string.gsub(entry, ',+$', '')))
  end
  if ARGV[22] ~= '' and not known['#' .. ARGV[22]] then learn('#' .. ARGV[22], '') end

  -- Everything that was told, and what of it machines did.
  local told, clicks = {}, {}
  for field, value in pairs(known) do
    if #field == 8 or string.sub(field, 1, 1) == '@' then
      local what, ms, rest = string.match(value, '^([^,]*),(%d+),?(.*)$')
      ms = tonumber(ms)
      if what == 'opened' or what == 'clicked' or what == 'converted' then
        local worth, link, machine = string.match(rest, '^([^,]*),?([^,]*),?(.*)$')
        local refund = (tonumber(worth) or 0) < 0
        if what == 'converted' and not refund then
          converted = true
          was_engaged = was_engaged or field ~= fingerprint
        end
        if machine ~= 'm' and not refund then told[#told + 1] = {what, ms} end
        if what == 'clicked' and link ~= '' then clicks[#clicks + 1] = {ms, link} end
      end
      seen[what] = math.max(seen[what] or 0, ms)
    end
  end
  if looks or type_said == 'converted' then
    for i = 1, #clicks >= SCANNED_LINKS and #clicks or 0 do
      local first, links, different = clicks[i][1], {}, 0
      for _, click in ipairs(clicks) do
        if click[1] >= first and click[1] - first < SCANNED_MS and not links[click[2]] then
          links[click[2]] = true
          different = different + 1
        end
      end
      if different >= SCANNED_LINKS then
        for _, click in ipairs(clicks) do
          if click[1] >= first and click[1] - first < SCANNED_MS then scanned[click[1]] = true end
        end
      end
    end
    local engaged, responded
    for _, look in ipairs(told) do
      if look[1] ~= 'clicked' or not scanned[look[2]] then
        engaged = math.max(engaged or 0, look[2])
        if look[1] ~= 'opened' then responded = math.max(responded or 0, look[2]) end
      end
    end
    for field, latest in pairs({e = engaged or false, p = responded or false}) do
      if known[field] ~= '1' and (latest and text(latest) or nil) ~= known[field] then
        if latest then
          learn(field, text(latest))
        else
          known[field] = nil
          unlearnt[#unlearnt + 1] = field
        end
      end
    end
  end
end
local engaged = decided and (converted or by_person('e'))
local responded = decided and (converted or by_person('p'))
-- Whether it was, as far as is known by now, a machine that opened or clicked.
local machine = ARGV[7] == 'm' or ((type_said == 'opened' or type_said == 'clicked')
  and decided and (scanned[at] and type_said == 'clicked' or known.d and at < tonumber(known.d) + PERSON_AFTER_MS))

-- Where the contact stands: the instant of sending; or false, it does not count; or nil, nothing was said yet.
local function standing()
  local sent, reached, failed, unsent = time_of('s'), time_of('r'), time_of('x'), time_of('n')
  if reached then return math.min(sent or reached, reached) end
  if sent and sent > (failed or -1) and sent >= (unsent or -1) then return sent end
  if failed or unsent then return false end
  return nil
end

local fresh = not marks[5] and not marks[6] and not marks[7] and redis.call('EXISTS', profile) == 0
local moved, kind, instant = false, ARGV[9], nil
if decided then
  instant = standing()
  local member, score
  local contacts = redis.call('ZRANGE', ledger, 0, -1, 'WITHSCORES')
  for i = 1, #contacts, 2 do
    if string.sub(contacts[i], 1, 14) == id then member, score = contacts[i], tonumber(contacts[i + 1]) end
  end
  kind = known.k or (ARGV[9] ~= '' and ARGV[9]) or (member and string.match(string.sub(member, 15), '^[^,]*')) or ''
  if kind ~= '' and not known.k then learn('k', kind) end

  -- A ledger that the store has lost stays lost: with one contact in it, it would pass for whole and open every limit.
  local last_contact = tonumber(marks[3] or '')
  local lost = #contacts == 0 and last_contact and now - last_contact < tonumber(ARGV[17])
  if instant and not lost and kind ~= '' then
    local wanted = id .. kind .. ',0,s' .. (engaged and 'e' or '')
    if wanted ~= member or instant ~= score then
      local confirmed = member and string.find(string.sub(member, 15), ',%d+,s')
      if member and wanted ~= member then redis.call('ZREM', ledger, member) end
      if not member then redis.call('HDEL', about, 'c' .. id) end
      redis.call('ZADD', ledger, text(instant), wanted)
      if not confirmed or instant ~= score then did('contact_sent') end
      if engaged and not was_engaged then did('contact_engaged') end
      moved = true
    end
  elseif instant == false and member then
    redis.call('ZREM', ledger, member)
    learn_about('c' .. id, kind)  -- so that the next word of it still finds it by its customer
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
end

-- Pauses after outcomes are counted from the last one of a kind. Also from a look that only its speed calls a machine's:
-- a `delivered` that tells so may come later, and the end must not depend on that. Closed: less is sent.
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

-- Soft bounces: the latest time that ends a window with too many of them.
local stop_at = at
if ARGV[23] ~= '' then
  learn_about('b' .. ARGV[23], text(at))
  local bounces, most, stored = {}, tonumber(ARGV[24]), redis.call('HGETALL', about)
  for i = 1, #stored, 2 do
    if #stored[i] == 9 and string.sub(stored[i], 1, 1) == 'b' then bounces[#bounces + 1] = tonumber(stored[i + 1]) end
  end
  table.sort(bounces)
  for i = most, #bounces do
    if bounces[i] - bounces[i - most + 1] < tonumber(ARGV[25]) then stop, stop_at = ARGV[26], bounces[i] end
  end
end

-- Suppressions, as suppress.lua and lift.lua set and lift them. What is said again moves the time forward, so that it is
-- not lifted by a word that is older than the last of it.
local general, left, changes, held = false, nil, {}, tonumber(marks[4] or 0)
local lifted = stop ~= '' and tonumber(known['^' .. stop] or redis.call('HGET', about, '^' .. stop) or '') or -1
if stop ~= '' and stop_at >= lifted then
  local stored = redis.call('HGET', profile, stop)
  local before, source = string.match(stored or '', '^(%d+)(.*)$')
  local value = text(stop_at) .. (source or ',' .. ARGV[13])
  if not stored then
    held = redis.call('HINCRBY', profile, '!s', 1)
    did('suppressed')
    general = true
  end
  if not stored or (before and stop_at > tonumber(before)) then
    redis.call('HSET', profile, stop, value)
    changes[1] = stop .. '=' .. value
  end
end
if lift ~= '' then
  learn_about('^' .. lift, text(math.max(tonumber(redis.call('HGET', about, '^' .. lift) or '') or 0, at)))
  local since = tonumber(string.match(redis.call('HGET', profile, lift) or '', '^%d+'))
  -- At the same instant the stricter one holds; a time that cannot be read is lifted by nothing.
  if since and since < at then
    redis.call('HDEL', profile, lift)
    left = redis.call('HINCRBY', profile, '!s', -1)
    held = left
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
if held > 0 then
  redis.call('PERSIST', profile)
  redis.call('PERSIST', history)
elseif fresh or left then
  redis.call('PEXPIRE', profile, ARGV[18])
  redis.call('PEXPIRE', history, ARGV[18])
end

-- A variant is counted once a sending, and its response once; a sending is taken back with its contact.
local variant = known.v or ARGV[15]
if decided and variant ~= '' then
  if not known.v then learn('v', variant) end
  local sends, responses = instant and 1 or 0, responded and 1 or 0  -- who responds has received it
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

-- The watch counts a contact once under each letter.
if decided and ARGV[32] ~= '' then
  local counted, letters = known.w or '', {}
  if known.s or known.r or seen.bounced_hard or seen.bounced_soft then letters[#letters + 1] = 's' end
  if known.r then letters[#letters + 1] = 'd' end
  if seen.bounced_hard then letters[#letters + 1] = 'b' end
  if seen.bounced_soft then letters[#letters + 1] = 'o' end
  if seen.complained then letters[#letters + 1] = 'c' end
  if seen.unsubscribed then letters[#letters + 1] = 'u' end
  local added = ''
  for _, letter in ipairs(letters) do
    if not string.find(counted, letter, 1, true) then
      redis.call('HINCRBY', KEYS[9], ARGV[32] .. ':' .. letter, 1)
      added = added .. letter
    end
  end
  if added ~= '' then
    redis.call('EXPIRE', KEYS[9], WATCH_TTL_S)
    learn('w', table.concat(letters))
  end
end

-- How far the contact has come: `stage` of app/core/standing.py.
local function stage()
  if seen.complained then return 'complained' end
  if seen.unsubscribed then return 'unsubscribed' end
  if converted then return 'converted' end
  if responded then return 'clicked' end
  if engaged then return 'opened' end
  if seen.bounced_hard and known.d and seen.bounced_hard >= tonumber(known.d) then return 'bounced' end
  if seen.delivered or seen.opened or seen.clicked or seen.converted then return 'delivered' end
  local bounced = math.max(seen.bounced_hard or -1, seen.bounced_soft or -1)
  local dropped, unsent, sent = seen.dropped or -1, seen.not_sent or -1, seen.sent or -1
  if sent > math.max(bounced, dropped) and sent >= unsent then return 'sent' end
  if math.max(bounced, dropped, unsent) < 0 then return 'reserved' end
  if bounced >= math.max(dropped, unsent) then return 'bounced' end
  return dropped >= unsent and 'dropped' or 'not_sent'
end

if decided then
  if #learnt > 0 then redis.call('HSET', outcomes, unpack(learnt)) end
  if #unlearnt > 0 then redis.call('HDEL', outcomes, unpack(unlearnt)) end
  redis.call('PEXPIREAT', outcomes, text(math.max(tonumber(ARGV[16]), now + 60000)))
  redis.call('HDEL', about, 'f' .. fingerprint)  -- it was told before its decision was known
else
  -- Too many of one customer's, and unknown: looks are not remembered, which makes repeats of them harmless news.
  if not (type_said == 'opened' or type_said == 'clicked') or redis.call('HLEN', about) < LOOKS_MAX then
    learn_about('f' .. fingerprint, type_said .. ',' .. text(at))
  end
end
local keep_about = math.max(ABOUT_TTL_MS, tonumber(ARGV[25]) or 0)
-- Conversions may be kept for longer.
if about_moved and redis.call('PTTL', about) < keep_about then redis.call('PEXPIRE', about, keep_about) end

local entry = {'c', ARGV[28], 't', type_said, 'a', text(at)}
local function add(field, value)
  if value ~= '' then
    entry[#entry + 1] = field
    entry[#entry + 1] = value
  end
end
if decided then
  add('d', 'dec_' .. string.format(string.rep('%02x', 14), string.byte(id, 1, 14)))
  add('s', stage())
end
add('v', ARGV[8])
add('m', machine and '1' or '')
add('p', ARGV[29])
add('r', ARGV[30])
redis.call('XADD', KEYS[7], '*', unpack(entry))
if ARGV[27] ~= '' then trim_stream(KEYS[7], tonumber(ARGV[27]), KEYS[10], 'archived_outcomes') end
if ARGV[31] ~= '' and not machine then redis.call('XADD', KEYS[8], '*', 'e', ARGV[31]) end
return {'ok', at, machine and 'm' or '', unpack(effects)}
