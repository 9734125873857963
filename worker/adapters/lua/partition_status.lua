-- Reads progress and the number of entries of a partition in one step, since a commit between two reads would look like
-- a loss.
--
-- KEYS[1] progress  hash: see commit.lua
-- KEYS[2] tenants   hash, tenant -> packed record
-- KEYS[3] timers    sorted set
-- KEYS[4] counts    hash, state -> number of tenants
-- KEYS[5] open      set
-- KEYS[6] operations hash
-- KEYS[7] ended     list
--
-- Returns {{field, value, ...} of progress, number of tenants, of timers, of tenants counted, of open-ended tenants,
-- of commands, of ends}; the number of tenants counted is -1 if a count is not a number.

local counted = 0
for _, number in ipairs(redis.call('HVALS', KEYS[4])) do
  if #number > 15 or not (number == '0' or string.match(number, '^-?[1-9]%d*$')) then -- as in commit.lua
    counted = -1
    break
  end
  counted = counted + tonumber(number)
end
return {redis.call('HGETALL', KEYS[1]), redis.call('HLEN', KEYS[2]), redis.call('ZCARD', KEYS[3]), counted,
  redis.call('SCARD', KEYS[5]), redis.call('HLEN', KEYS[6]), redis.call('LLEN', KEYS[7])}
