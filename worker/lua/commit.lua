-- Writes everything that a batch led to, together with the new progress, if the partition still stands where
-- the batch began. Whoever lost the partition, or was overtaken, changes nothing.
--
-- KEYS[1] progress  hash: next (offset), timestamp (ms) and crc (CRC-32 of key and value) of the last record
--                   applied, states_next (offset), refolds_to (offset), records, timers and open (how many there
--                   are of each), rules (JSON), swept (number of the rules that every tenant was told of),
--                   topic_id, partitions, layout
-- KEYS[2] tenants   hash, tenant -> packed record
-- KEYS[3] timers    sorted set, tenant by the time of its next timer, ms
-- KEYS[4] counts    hash, state -> number of tenants
-- KEYS[5] open      set, tenants with a pin or an open-ended claim
-- KEYS[6..]         for each operation its key, then the key of its receipt
--
-- ARGV[1] the position where the batch began; `next` must equal it
-- ARGV[2] number of progress fields, then name and value of each
-- then eight sections, each led by its number of items:
--   tenant, record      records written
--   tenant              records removed
--   ms, tenant          timers set
--   tenant              timers removed
--   state, difference   counts moved
--   tenant, 0 or 1      whether the tenant is open-ended
--   record, ms          operations, with the time for which the key stays
--   channel, record     answers: who waits is told in the same step, so that no crash comes between
--
-- Returns 1, or 0 where the fence refuses.

local SLICE = 1000 -- below the limit of Lua's stack for unpack; even, so that pairs stay together

local fields = redis.call('HMGET', KEYS[1], 'next', 'records', 'layout', 'timers', 'open')
if (fields[1] or '0') ~= ARGV[1] or redis.call('HLEN', KEYS[2]) ~= tonumber(fields[2] or '0') then
  return 0
end
-- What was lost must not become what should be there. Beside layout 1 these were left by a worker that did not keep them.
if tonumber(fields[3] or '1') >= 2 then
  local timers, open = tonumber(fields[4] or '-1'), tonumber(fields[5] or '-1')
  if (timers >= 0 and timers ~= redis.call('ZCARD', KEYS[3])) or (open >= 0 and open ~= redis.call('SCARD', KEYS[5])) then
    return 0
  end
end

-- A script that fails halfway leaves what it has written, so a count to which nothing can be added is refused before;
-- below 2^53, Lua's numbers are whole.
for _, number in ipairs(redis.call('HVALS', KEYS[4])) do
  if #number > 15 or not (number == '0' or string.match(number, '^-?[1-9]%d*$')) then
    return 0
  end
end

local cursor = 2

-- Steps over a section of `width` arguments an item and returns its first and last index.
local function section(width)
  local first = cursor + 1
  local last = cursor + tonumber(ARGV[cursor]) * width
  cursor = last + 1
  return first, last
end

local function sliced(command, key, first, last)
  for start = first, last, SLICE do
    redis.call(command, key, unpack(ARGV, start, math.min(start + SLICE - 1, last)))
  end
end

local progress_first, progress_last = section(2)

local first, last = section(2)
sliced('HSET', KEYS[2], first, last)
first, last = section(1)
sliced('HDEL', KEYS[2], first, last)
first, last = section(2)
sliced('ZADD', KEYS[3], first, last)
first, last = section(1)
sliced('ZREM', KEYS[3], first, last)

first, last = section(2)
for index = first, last, 2 do
  redis.call('HINCRBY', KEYS[4], ARGV[index], ARGV[index + 1])
end
first, last = section(2)
for index = first, last, 2 do
  redis.call(ARGV[index + 1] == '1' and 'SADD' or 'SREM', KEYS[5], ARGV[index])
end
first, last = section(2)
local key = 6
for index = first, last, 2 do
  redis.call('SET', KEYS[key], ARGV[index], 'PX', ARGV[index + 1])
  redis.call('UNLINK', KEYS[key + 1])
  key = key + 2
end

sliced('HSET', KEYS[1], progress_first, progress_last)
redis.call('HSET', KEYS[1], 'records', redis.call('HLEN', KEYS[2]), 'timers', redis.call('ZCARD', KEYS[3]),
  'open', redis.call('SCARD', KEYS[5]))

first, last = section(2)
for index = first, last, 2 do
  redis.call('PUBLISH', ARGV[index], ARGV[index + 1])
end
return 1
