#!lua
-- Commits one decided request: all or nothing, in the customer's slot.
--
-- KEYS  1 profile (hash)  2 ledger (zset)  3 decision log (stream)
--       then the idempotency record, when the caller sent a key (ARGV 7 is not "0")
--       then one `decision id → customer` key for every contact
--       then decisions whose reward is due (zset), when ARGV 14 is not "0"
--       then the shard's worker (hash), when ARGV 5 is not ""
-- ARGV  1 general version that was read, or "*"   ("*": what was answered without the store is logged after the fact)
--       2 ledger version that was read, or "-"     ("-": no limit binds, so the ledger may have moved)
--       3 commit_by: the store's clock, ms; later than that the answer has already been given
--       4 the record                               (bytes)
--       5 decision log: at most about this many entries, older ones are let go of; "": not now
--       6 idempotency: the value to keep           (bytes)
--       7 idempotency: seconds to keep it          ("0": the caller sent no key)
--       8 ledger: seconds to keep it               9 ledger: entries before this time are forgotten (ms, "" for none)
--      10 seconds to keep `decision id → customer` 11 its value: the customer; behind it come the kind and the variant
--      12 seconds to keep a profile that only this commit creates
--      13 decision log: ms to keep entries        ("" for as long as there is room)
--      14 how many decisions earn a reward
--      15… score (ms), member of every contact
--       …  when its window closes (ms), id (14 bytes) and kind of contact of every decision that earns a reward
--       …  for every contact what its pointer says beside the customer: ` <kind id>[ <counter of a compared variant>]`
--       …  profile field, arm, name of every trial that the customer may be meeting for the first time
--
-- Returns {"ok", stream id}, and, of what is logged after the fact, whom the customer became meanwhile: the contacts are
--         written there (merge_contacts.lua)
--      or {"twin", value}: the idempotency key was used before; nothing is written but that the answer stands, which
--         the byte after base id (13) and request hash (16) says: it is given now, and cannot be released any more
--      or {"late"}: commit_by has passed; nothing is written
--      or {"moved", TIME, profile, ledger with scores}: a version moved; nothing is written
--
-- e.g. EVALSHA sha 4 {s017}:p:cus_1 {s017}:l:cus_1 {s017}:decisions {s017}:d:dec_… 3 7 1767225600123 …
local idempotency = ARGV[7] ~= '0' and KEYS[4]
local first = idempotency and 5 or 4
local trimming, dues = ARGV[5] ~= '', ARGV[14] ~= '0'
local last = #KEYS - (trimming and 1 or 0) - (dues and 1 or 0)

-- Whether an answer is from before its customer was erased: then it is nobody's. Its time stands in the base id with
-- which the value begins, behind one and a half bytes of the shard.
local function is_erased(seen)
  local erased = string.match(redis.call('HGET', KEYS[1], '!e') or '', '^%d+')
  if not erased then return false end
  local at = string.byte(seen, 2) % 16
  for i = 3, 7 do at = at * 256 + string.byte(seen, i) end
  return at <= tonumber(erased)
end

if idempotency then
  local seen = redis.call('GET', idempotency)
  if seen and not is_erased(seen) then
    redis.call('SETRANGE', idempotency, 29, '=')
    return {'twin', seen}
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[3]) then return {'late'} end

-- Written after the fact, and now once more because the reply was lost: it is in the log already.
local became = ARGV[1] == '*' and string.match(redis.call('HGET', KEYS[1], '!m') or '', '^>(.+)$') or nil
if ARGV[1] == '*' and first <= last and redis.call('EXISTS', KEYS[first]) == 1 then return {'ok', '', became} end

local versions = redis.call('HMGET', KEYS[1], '!g', '!l', '!t')
local ledger_version = versions[2] or '0'
if (ARGV[1] ~= '*' and (versions[1] or '0') ~= ARGV[1]) or (ARGV[2] ~= '-' and ledger_version ~= ARGV[2]) then
  return {'moved', time, redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')}
end

local contacts = last - first + 1
local tails = 15 + 2 * contacts + 2 * ARGV[14]
local trials = tails + contacts
local writes = contacts > 0 or ARGV[trials]
local fresh = writes and not versions[1] and not versions[2] and redis.call('EXISTS', KEYS[1]) == 0
-- What is logged after the fact saw no ledger. One that the store has lost stays lost: with one contact in it, it would
-- pass for whole and open every limit.
local erased = ARGV[1] == '*' and string.find(redis.call('HGET', KEYS[1], '!e') or '', ',')
local lost = ARGV[1] == '*' and versions[3] and now - versions[3] < ARGV[8] * 1000 and redis.call('EXISTS', KEYS[2]) == 0
if contacts > 0 and not became and not lost and not erased then
  redis.call('HSET', KEYS[1], '!l', string.format('%d', ledger_version + contacts), '!t', string.format('%d', now))
  redis.call('ZADD', KEYS[2], unpack(ARGV, 15, 14 + 2 * contacts))
  if ARGV[9] ~= '' then redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[9]) end
  redis.call('EXPIRE', KEYS[2], ARGV[8])
end

-- A trial is met once: what another commit noted since the facts were read is not noted again. The log entry says which
-- were new, as a MessagePack array: trial, arm, trial, arm …
local met = {}
for i = trials, #ARGV, 3 do
  if redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) == 1 then
    met[#met + 1] = ARGV[i + 2]
    met[#met + 1] = ARGV[i + 1]
  end
end
if fresh then redis.call('EXPIRE', KEYS[1], ARGV[12]) end

local entry = {'r', ARGV[4]}
if #met > 0 then entry = {'r', ARGV[4], 'x', cmsgpack.pack(met)} end
local id = redis.call('XADD', KEYS[3], '*', unpack(entry))
if trimming then trim_stream(KEYS[3], tonumber(ARGV[5]), KEYS[#KEYS], 'archived_decisions') end
if ARGV[13] ~= '' then redis.call('XTRIM', KEYS[3], 'MINID', '~', string.format('%d', now - ARGV[13])) end
if dues then redis.call('ZADD', KEYS[last + 1], unpack(ARGV, 15 + 2 * contacts, tails - 1)) end
for i = first, last do
  redis.call('SET', KEYS[i], id .. ' ' .. ARGV[11] .. ARGV[tails + i - first], 'EX', ARGV[10])
end
if idempotency then redis.call('SET', idempotency, ARGV[6], 'EX', ARGV[7]) end
return {'ok', id, became}
