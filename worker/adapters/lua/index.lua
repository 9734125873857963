-- Reads what a partition holds besides its records, if progress is at the caller's position.
--
-- KEYS[1] progress  hash; see commit.lua
-- KEYS[2] tenants   hash, tenant -> packed record
-- KEYS[3] timers    sorted set, tenant by the time of its next timer, ms
-- KEYS[4] counts    hash, state -> number of tenants
-- KEYS[5] open      set, tenants with a pin or an open-ended claim
-- ARGV[1]   the position: `next` must equal it
-- ARGV[2..] tenants to look for
--
-- Returns false if the fence refuses, else {ms or false of each tenant, 1 or 0 of each whether it is open-ended,
-- {state, number, ...}}.

local next_offset = redis.call('HGET', KEYS[1], 'next') or '0'
local records = tonumber(redis.call('HGET', KEYS[1], 'records') or '0')
if next_offset ~= ARGV[1] or redis.call('HLEN', KEYS[2]) ~= records then
  return false
end

local times, open = {}, {}
for index = 2, #ARGV do
  times[index - 1] = redis.call('ZSCORE', KEYS[3], ARGV[index])
  open[index - 1] = redis.call('SISMEMBER', KEYS[5], ARGV[index])
end
return {times, open, redis.call('HGETALL', KEYS[4])}
