-- Deletes an identity key if it points to this customer.
-- KEYS[1]  identity key      ARGV[1]  customer
if redis.call("GET", KEYS[1]) == ARGV[1] then
  return redis.call("DEL", KEYS[1])
end
return 0
