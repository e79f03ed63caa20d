-- Links an identity to a customer, if it is free or linked to one of those who give it up.
-- KEYS[1]  identity key (string)      ARGV  customer, s to keep, who give it up, …
-- Returns whose it is then
local key, customer = KEYS[1], ARGV[1]
local holder = redis.call("GET", key)
if holder and holder ~= customer then
  local given_up = false
  for i = 3, #ARGV do given_up = given_up or ARGV[i] == holder end
  if not given_up then return holder end
end
if holder and redis.call("TTL", key) == -1 then
  redis.call("SET", key, customer)
else
  redis.call("SET", key, customer, "EX", ARGV[2])
end
return customer
