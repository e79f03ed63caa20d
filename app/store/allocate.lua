-- Gives every name in ARGV a field id, allocating those that have none. Append-only: an id is never changed or reused.
--
-- KEYS[1]  ctl:fields   hash: name → id; `#` holds how many ids were given
-- ARGV     names, such as `a:recency` or `p:marketing`
-- Returns the ids, in the order of ARGV.
--
-- Example: EVALSHA <sha> 1 ctl:fields a:recency p:marketing  →  {"0", "1"}
local digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

local function base62(n)
  local text = ""
  repeat
    local digit = n % 62
    text = string.sub(digits, digit + 1, digit + 1) .. text
    n = (n - digit) / 62
  until n == 0
  return text
end

local ids = {}
for i, name in ipairs(ARGV) do
  local id = redis.call("HGET", KEYS[1], name)
  if not id then
    id = base62(redis.call("HINCRBY", KEYS[1], "#", 1) - 1)
    redis.call("HSET", KEYS[1], name, id)
  end
  ids[i] = id
end
return ids
