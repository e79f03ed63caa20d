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
--      23 what stands for a mail that bounced softly, or ""      24 so many of them  25 within so many ms  26 set this suppression
--      27 outcome stream: at most about so many entries, older ones are let go of; "": not now
--      28 customer  29 provider  30 SMTP code      31 decision id as text, or ""
--      32 event to be added, or ""
--      33 `<placement>/<message>/<domain>` to be counted under, or ""
--      34 "1" when the customer who was sent it became this one
--      35… field, value of what was taken down while it was that one, with which this customer's hash begins
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
--                 b<mail>: latest ms at which it bounced softly  ^<suppression field>: latest time it was lifted
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

-- Names of a script's own are found faster than those of the store's, and there are sixty of them on the way.
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local find, sub, byte, match, format, max, min =
  string.find, string.sub, string.byte, string.match, string.format, math.max, math.min
local profile, ledger, outcomes, variants, history, about = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, fingerprint, type_said, stop, lift = ARGV[1], ARGV[2], ARGV[3], ARGV[12], ARGV[14]
local decided = id ~= ''
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return format('%.0f', number)
end

local at = tonumber(ARGV[4])
if at > now + AHEAD_MS then return {'future', now} end
if at < 0 or at > now then at = now end
at = max(at, tonumber(ARGV[5]))
local at_text = text(at)

local marks = call('HMGET', profile, '!m', '!e', '!t', '!s', '!g', '!l', '!u')
local merge = marks[1]
if merge and sub(merge, 1, 1) == '>' then
  return {'merged', sub(merge, 2), decided and call('HGETALL', outcomes) or {}}
end
if merge == 'p' and ARGV[34] == '1' then return {'merging'} end
local erased = marks[2] and match(marks[2], '^%d+')
if erased and (decided and tonumber(ARGV[5]) or at) <= tonumber(erased) then return {'erased'} end
if not decided and marks[2] and find(marks[2], ',', 1, true) then return {'erased'} end

if fingerprint == '' then fingerprint = '@' .. type_said .. text(now) end
-- Everything that was told before: `seen` is the latest of each type. Read once, by plain searches: this is what an
-- outcome of a contact that much is known of costs.
local known, learnt, entries, seen = {}, {}, {}, {}
local converted, linked, begins = false, 0, false
if decided then
  entries = call('HGETALL', outcomes)
  begins = #entries == 0
  if begins then
    entries = {unpack(ARGV, 35)}
    learnt = {unpack(ARGV, 35)}
  end
  for i = 1, #entries, 2 do
    local field, value = entries[i], entries[i + 1]
    known[field] = value
    if #field == 8 or byte(field) == 64 then
      local comma = find(value, ',', 1, true)
      local next_comma = find(value, ',', comma + 1, true)
      local what, ms = sub(value, 1, comma - 1), tonumber(sub(value, comma + 1, (next_comma or 0) - 1))
      if ms > (seen[what] or -1) then seen[what] = ms end
      if next_comma and what == 'clicked' then linked = linked + 1 end
      if what == 'converted' then
        local worth = next_comma and tonumber(match(value, '^[^,]*', next_comma + 1)) or 0
        converted = converted or worth >= 0  -- a refund is none
      end
    end
  end
else
  known[fingerprint] = call('HGET', about, 'f' .. fingerprint) or nil
end
if known[fingerprint] then
  return {'known', tonumber(match(known[fingerprint], '^[^,]*,(%d+)')), ''}
end

local function learn(field, value)
  known[field] = value
  learnt[#learnt + 1] = field
  learnt[#learnt + 1] = value
end
local unlearnt = {}
local about_moved = false
local function learn_about(field, value)
  call('HSET', about, field, value)
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
local was_engaged = decided and (converted or by_person('e'))  -- before this one

-- The set of what is known grows.
local scanned = false
if decided then
  local standing_said, machine_said, worth = ARGV[6], ARGV[7] == 'm', ARGV[8]
  if standing_said ~= '' then
    local before = tonumber(known[standing_said])
    if not before or (standing_said == 'r' and at < before or standing_said ~= 'r' and at > before) then
      learn(standing_said, at_text)
    end
  end
  if type_said == 'delivered' and at < (tonumber(known.d) or math.huge) then learn('d', at_text) end
  local looks = type_said == 'opened' or type_said == 'clicked'
  local remembered = not looks or #entries / 2 < LOOKS_MAX
  if remembered then
    local entry = type_said .. ',' .. at_text
    if machine_said then
      entry = entry .. ',' .. worth .. ',' .. ARGV[21] .. ',m'
    elseif ARGV[21] ~= '' then
      entry = entry .. ',' .. worth .. ',' .. ARGV[21]
    elseif worth ~= '' then
      entry = entry .. ',' .. worth
    end
    learn(fingerprint, entry)
    if at > (seen[type_said] or -1) then seen[type_said] = at end
  end
  if ARGV[22] ~= '' and not known['#' .. ARGV[22]] then learn('#' .. ARGV[22], '') end

  if looks or type_said == 'converted' then
    local refund = (tonumber(worth) or 0) < 0
    if type_said == 'converted' and not refund then converted = true end
    local engaged, responded = tonumber(known.e), tonumber(known.p)
    if type_said == 'clicked' and linked + 1 >= SCANNED_LINKS then
      -- Enough clicks for a scanner's, whom the earlier ones may be of as well: all looks are gone through again.
      local told, clicks = {}, {}
      for field, value in pairs(known) do
        if #field == 8 or byte(field) == 64 then
          local what, ms, rest = match(value, '^([^,]*),(%d+),?(.*)$')
          ms = tonumber(ms)
          if what == 'opened' or what == 'clicked' or what == 'converted' then
            local value_told, link, by_machine = match(rest, '^([^,]*),?([^,]*),?(.*)$')
            if by_machine ~= 'm' and (tonumber(value_told) or 0) >= 0 then told[#told + 1] = {what, ms} end
            if what == 'clicked' and link ~= '' then clicks[#clicks + 1] = {ms, link} end
          end
        end
      end
      local scanners = {}
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
            if click[1] >= first and click[1] - first < SCANNED_MS then scanners[click[1]] = true end
          end
        end
      end
      scanned = scanners[at]
      engaged, responded = nil, nil
      for _, look in ipairs(told) do
        if look[1] ~= 'clicked' or not scanners[look[2]] then
          engaged = max(engaged or 0, look[2])
          if look[1] ~= 'opened' then responded = max(responded or 0, look[2]) end
        end
      end
    elseif remembered and not machine_said and not refund then
      engaged = max(engaged or 0, at)
      if type_said ~= 'opened' then responded = max(responded or 0, at) end
    end
    local function keep(field, latest)
      if known[field] == '1' then return end
      latest = latest and text(latest)
      if latest == known[field] then return end
      if latest then
        learn(field, latest)
      else
        known[field] = nil
        unlearnt[#unlearnt + 1] = field
      end
    end
    keep('e', engaged)
    keep('p', responded)
  end
end
local engaged = decided and (converted or by_person('e'))
local responded = decided and (converted or by_person('p'))
-- Whether it was, as far as is known by now, a machine that opened or clicked.
local machine = ARGV[7] == 'm' or ((type_said == 'opened' or type_said == 'clicked')
  and decided and (scanned or known.d and at < tonumber(known.d) + PERSON_AFTER_MS))

-- Where the contact stands: the instant of sending; or false, it does not count; or nil, nothing was said yet.
local sent, reached, failed, unsent = tonumber(known.s), tonumber(known.r), tonumber(known.x), tonumber(known.n)
local instant
if reached then
  instant = min(sent or reached, reached)
elseif sent and sent > (failed or -1) and sent >= (unsent or -1) then
  instant = sent
elseif failed or unsent then
  instant = false
end

local fresh = not marks[5] and not marks[6] and not marks[7] and call('EXISTS', profile) == 0
local moved, kind, noted = false, known.k or ARGV[9], {}  -- `noted`: of the profile
-- The contact is mostly as it should be, and whoever was sent much has a ledger that is not read for that.
local wanted = decided and kind ~= '' and instant and id .. kind .. ',0,s' .. (engaged and 'e' or '')
local settled = decided and kind ~= ''
  and (instant == nil or wanted and tonumber(call('ZSCORE', ledger, wanted) or '') == instant)
if decided and not settled then
  local member, score
  local contacts = call('ZRANGE', ledger, 0, -1, 'WITHSCORES')
  for i = 1, #contacts, 2 do
    if sub(contacts[i], 1, 14) == id then member, score = contacts[i], tonumber(contacts[i + 1]) end
  end
  if kind == '' and member then kind = match(sub(member, 15), '^[^,]*') end
  -- A ledger that the store has lost stays lost: with one contact in it, it would pass for whole and open every limit.
  local last_contact = tonumber(marks[3] or '')
  local lost = #contacts == 0 and last_contact and now - last_contact < tonumber(ARGV[17])
  if instant and not lost and kind ~= '' then
    wanted = id .. kind .. ',0,s' .. (engaged and 'e' or '')
    if wanted ~= member or instant ~= score then
      local confirmed = member and find(sub(member, 15), ',%d+,s')
      if member and wanted ~= member then call('ZREM', ledger, member) end
      if not member then call('HDEL', about, 'c' .. id) end
      call('ZADD', ledger, text(instant), wanted)
      if not confirmed or instant ~= score then did('contact_sent') end
      if engaged and not was_engaged then did('contact_engaged') end
      moved = true
    end
  elseif instant == false and member then
    call('ZREM', ledger, member)
    learn_about('c' .. id, kind)  -- so that the next word of it still finds it by its customer
    did('contact_released')
    moved = true
  end
  if moved then
    -- A ledger that is rightly empty must not look lost, and one that is not must outlive the time of its last contact.
    local others = #contacts
    if contacts[others - 1] == member then others = others - 2 end
    local last = max(tonumber(contacts[others] or '') or -1, instant or -1)
    if last >= 0 then
      noted = {'!t', text(min(last, now))}
      call('PEXPIRE', ledger, ARGV[17])
    else
      call('HDEL', profile, '!t')
    end
  end
end
if decided and kind ~= '' and not known.k then learn('k', kind) end

-- Pauses after outcomes are counted from the last one of a kind. Also from a look that only its speed calls a machine's:
-- a `delivered` that tells so may come later, and the end must not depend on that. Closed: less is sent.
if ARGV[10] ~= '' then
  local field = ARGV[10] .. kind
  local before = call('HGET', profile, field)
  if not before or at > (tonumber(before) or -1) then
    if not before then
      local stored = call('HGETALL', profile)
      for i = 1, #stored, 2 do
        if sub(stored[i], 1, 1) == '+' and (tonumber(stored[i + 1]) or now) < now - ARGV[11] then
          call('HDEL', profile, stored[i])
        end
      end
    end
    noted[#noted + 1] = field
    noted[#noted + 1] = at_text
    did('kept_for_pauses')
    moved = true
  end
end
if moved then call('HSET', profile, '!l', text((tonumber(marks[6]) or 0) + 1), unpack(noted)) end

-- Soft bounces: the latest time that ends a window with too many of them.
local stop_at = at
if ARGV[23] ~= '' then
  local before = tonumber(call('HGET', about, 'b' .. ARGV[23]) or '') or 0
  learn_about('b' .. ARGV[23], text(max(before, at)))
  local bounces, most, stored = {}, tonumber(ARGV[24]), call('HGETALL', about)
  for i = 1, #stored, 2 do
    if #stored[i] == 9 and sub(stored[i], 1, 1) == 'b' then bounces[#bounces + 1] = tonumber(stored[i + 1]) end
  end
  table.sort(bounces)
  for i = most, #bounces do
    if bounces[i] - bounces[i - most + 1] < tonumber(ARGV[25]) then stop, stop_at = ARGV[26], bounces[i] end
  end
end

-- Suppressions, as suppress.lua and lift.lua set and lift them. What is said again moves the time forward, so that it is
-- not lifted by a word that is older than the last of it.
local general, left, changes, held = false, nil, {}, tonumber(marks[4] or 0)
local lifted = stop ~= '' and tonumber(known['^' .. stop] or call('HGET', about, '^' .. stop) or '') or -1
if stop ~= '' and stop_at >= lifted then
  local stored = call('HGET', profile, stop)
  local before, source = match(stored or '', '^(%d+)(.*)$')
  local value = text(stop_at) .. (source or ',' .. ARGV[13])
  if not stored then
    held = call('HINCRBY', profile, '!s', 1)
    did('suppressed')
    general = true
  end
  if not stored or (before and stop_at > tonumber(before)) then
    call('HSET', profile, stop, value)
    changes[1] = stop .. '=' .. value
  end
end
if lift ~= '' then
  learn_about('^' .. lift, text(max(tonumber(call('HGET', about, '^' .. lift) or '') or 0, at)))
  local since = tonumber(match(call('HGET', profile, lift) or '', '^%d+'))
  -- At the same instant the stricter one holds; a time that cannot be read is lifted by nothing.
  if since and since < at then
    call('HDEL', profile, lift)
    left = call('HINCRBY', profile, '!s', -1)
    held = left
    if left <= 0 then call('HDEL', profile, '!s') end
    did('suppression_lifted')
    general = true
    changes[1] = '~' .. sub(lift, 2)
  end
end
if general then
  call('HINCRBY', profile, '!g', 1)
  call('HSET', profile, '!u', text(now))
end
if changes[1] then remember(history, text(now), ARGV[19], changes, ARGV[20]) end
if held > 0 then
  call('PERSIST', profile)
  call('PERSIST', history)
elseif fresh or left then
  call('PEXPIRE', profile, ARGV[18])
  call('PEXPIRE', history, ARGV[18])
end

-- A variant is counted once a sending, and its response once; a sending is taken back with its contact.
local variant = known.v or ARGV[15]
if decided and variant ~= '' then
  if not known.v then learn('v', variant) end
  local sends, responses = instant and 1 or 0, responded and 1 or 0  -- who responds has received it
  local counted = known.c or '00'
  local sends_by = sends - tonumber(sub(counted, 1, 1))
  local responses_by = responses - tonumber(sub(counted, 2, 2))
  if sends_by ~= 0 then call('HINCRBY', variants, variant .. ':n', sends_by) end
  if responses_by ~= 0 then call('HINCRBY', variants, variant .. ':r', responses_by) end
  if sends_by ~= 0 or responses_by ~= 0 then
    call('EXPIRE', variants, VARIANTS_TTL_S)
    learn('c', sends .. responses)
  end
end

-- The watch counts a contact once under each letter.
if decided and ARGV[33] ~= '' then
  local counted = known.w or ''
  local letters = (known.s or known.r or seen.bounced_hard or seen.bounced_soft) and 's' or ''
  if known.r then letters = letters .. 'd' end
  if seen.bounced_hard then letters = letters .. 'b' end
  if seen.bounced_soft then letters = letters .. 'o' end
  if seen.complained then letters = letters .. 'c' end
  if seen.unsubscribed then letters = letters .. 'u' end
  if letters ~= counted then
    for letter in string.gmatch(letters, '.') do
      -- From the first mail that is counted so, the hash outlives the longest window in which it is looked at.
      local first = not find(counted, letter, 1, true) and call('HINCRBY', KEYS[9], ARGV[33] .. ':' .. letter, 1) == 1
      if first then call('EXPIRE', KEYS[9], WATCH_TTL_S) end
    end
    learn('w', letters)
  end
end

-- How far the contact has come: `stage` of app/core/standing.py.
local stage
if not decided then
  stage = ''
elseif seen.complained then
  stage = 'complained'
elseif seen.unsubscribed then
  stage = 'unsubscribed'
elseif converted then
  stage = 'converted'
elseif responded then
  stage = 'clicked'
elseif engaged then
  stage = 'opened'
elseif seen.bounced_hard and known.d and seen.bounced_hard >= tonumber(known.d) then
  stage = 'bounced'
elseif seen.delivered or seen.opened or seen.clicked or seen.converted then
  stage = 'delivered'
else
  local bounced = max(seen.bounced_hard or -1, seen.bounced_soft or -1)
  local dropped, not_sent, went = seen.dropped or -1, seen.not_sent or -1, seen.sent or -1
  if went > max(bounced, dropped) and went >= not_sent then
    stage = 'sent'
  elseif max(bounced, dropped, not_sent) < 0 then
    stage = 'reserved'
  elseif bounced >= max(dropped, not_sent) then
    stage = 'bounced'
  else
    stage = dropped >= not_sent and 'dropped' or 'not_sent'
  end
end

if decided then
  if #learnt > 0 then call('HSET', outcomes, unpack(learnt)) end
  if #unlearnt > 0 then call('HDEL', outcomes, unpack(unlearnt)) end
  local until_ms = tonumber(ARGV[16])
  if begins or until_ms < now + 60000 then
    call('PEXPIREAT', outcomes, text(max(until_ms, now + 60000)))
  end
  call('HDEL', about, 'f' .. fingerprint)  -- it was told before its decision was known
else
  -- Too many of one customer's, and unknown: looks are not remembered, which makes repeats of them harmless news.
  if not (type_said == 'opened' or type_said == 'clicked') or call('HLEN', about) < LOOKS_MAX then
    learn_about('f' .. fingerprint, type_said .. ',' .. at_text)
  end
end
local keep_about = max(ABOUT_TTL_MS, tonumber(ARGV[25]) or 0)
-- Conversions may be kept for longer.
if about_moved and call('PTTL', about) < keep_about then call('PEXPIRE', about, keep_about) end

local entry = {'c', ARGV[28], 't', type_said, 'a', at_text}
local function add(field, value)
  if value ~= '' then
    entry[#entry + 1] = field
    entry[#entry + 1] = value
  end
end
add('d', ARGV[31])
add('s', stage)
add('v', ARGV[8])
add('m', machine and '1' or '')
add('p', ARGV[29])
add('r', ARGV[30])
call('XADD', KEYS[7], '*', unpack(entry))
if ARGV[27] ~= '' then trim_stream(KEYS[7], tonumber(ARGV[27]), KEYS[10], 'archived_outcomes') end
if ARGV[32] ~= '' and not machine then call('XADD', KEYS[8], '*', 'e', ARGV[32]) end
return {'ok', at, machine and 'm' or '', unpack(effects)}
