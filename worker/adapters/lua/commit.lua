-- Writes the results of a piece together with the new progress, if progress is still where the piece began. A worker
-- that has lost the partition, or was overtaken, changes nothing.
--
-- KEYS[1] progress  hash: next (offset), timestamp (ms) and crc (CRC-32 of key and value) of the last record
--                   applied, highest (the highest timestamp of any, ms), states_next (offset), refolds_to (offset),
--                   records, timers, open, operations and ended (how many there are of each), rules (JSON), swept
--                   (number of the rules that every tenant was told of), partitions, layout
-- KEYS[2] tenants   hash, tenant -> packed record
-- KEYS[3] timers    sorted set, tenant by the time of its next timer, ms
-- KEYS[4] counts    hash, state -> number of tenants
-- KEYS[5] open      set, tenants with a pin or an open-ended claim
-- KEYS[6] operations hash, digest of tenant and id -> packed command, led by a byte and its end (8 bytes, big-endian)
-- KEYS[7] ended     list, oldest first, of the end of a command (8 bytes, big-endian) and its field in the hash
-- KEYS[8..]         to be deleted: receipts, and the keys that operations had until layout 3
--
-- ARGV[1] the position where the piece began; `next` must equal it
-- ARGV[2] commands that ended at this time or before are forgotten, ms
-- ARGV[3] how long a packed command without texts is, bytes
-- ARGV[4] number of progress fields, then name and value of each
-- then nine sections, each led by its number of items:
--   tenant, record      records written
--   tenant              records removed
--   ms, tenant          timers set
--   tenant              timers removed
--   state, difference   counts moved
--   tenant, 0 or 1      whether the tenant is open-ended
--   field, record       commands
--   field               commands that have ended: their texts go, and their end is noted
--   channel, record     answers: they are published in the same step, so that no crash comes between
--
-- Returns 1, or 0 if the fence refuses.

local SLICE = 1000 -- below the limit of Lua's stack for unpack; even, so that pairs stay together
-- How many ends a commit removes from the list at most. A batch of 2,000 cancels adds two ends each: this keeps pace.
local FORGET = 4000
-- How many ends are read at first. Most commits forget one command or none, and reading a slice takes half as long as
-- all the rest of them.
local FIRST = 10

local fields = redis.call('HMGET', KEYS[1], 'next', 'records', 'layout', 'timers', 'open', 'operations', 'ended')
if (fields[1] or '0') ~= ARGV[1] or redis.call('HLEN', KEYS[2]) ~= tonumber(fields[2] or '0') then
  return 0
end
-- A loss must not be committed as the expected number. With an older layout these numbers are stale: a worker with that
-- layout does not update them.
local layout = tonumber(fields[3] or '1')
local function lost(since, expected, command, key)
  return layout >= since and expected and tonumber(expected) ~= redis.call(command, key)
end
if lost(2, fields[4], 'ZCARD', KEYS[3]) or lost(2, fields[5], 'SCARD', KEYS[5])
  or lost(3, fields[6], 'HLEN', KEYS[6]) or lost(3, fields[7], 'LLEN', KEYS[7]) then
  return 0
end

-- A script that fails halfway keeps what it has written. So a count that is not a number is refused before.
-- Below 2^53, Lua's numbers are exact.
for _, number in ipairs(redis.call('HVALS', KEYS[4])) do
  if #number > 15 or not (number == '0' or string.match(number, '^-?[1-9]%d*$')) then
    return 0
  end
end

local cursor = 4

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
sliced('HSET', KEYS[6], first, last)
first, last = section(1)
for index = first, last do
  -- A command of layout 2 has a key of its own, which expires.
  local packed = redis.call('HGET', KEYS[6], ARGV[index])
  if packed then
    if #packed > tonumber(ARGV[3]) then
      redis.call('HSET', KEYS[6], ARGV[index], string.sub(packed, 1, tonumber(ARGV[3])))
    end
    redis.call('RPUSH', KEYS[7], string.sub(packed, 2, 9) .. ARGV[index])
  end
end
for start = 8, #KEYS, SLICE do
  redis.call('UNLINK', unpack(KEYS, start, math.min(start + SLICE - 1, #KEYS)))
end

-- Bytes without an end, which no worker wrote, count as ended. Strings are not compared, since that depends on the
-- locale.
local function end_of(bytes, first)
  return #bytes < first + 7 and 0 or struct.unpack('>I8', bytes, first)
end
local forget_to, taken = tonumber(ARGV[2]), 0
local start, width = 0, FIRST
while start < FORGET do
  local ends, forgotten = redis.call('LRANGE', KEYS[7], start, start + width - 1), {}
  for index, entry in ipairs(ends) do
    if end_of(entry, 1) > forget_to then
      break
    end
    taken = start + index
    forgotten[index] = string.sub(entry, 9)
  end
  if #forgotten > 0 then
    local gone = {}
    for index, packed in ipairs(redis.call('HMGET', KEYS[6], unpack(forgotten))) do
      -- An id that was used again after it was forgotten has a later end, and is listed once more.
      if packed and end_of(packed, 2) <= forget_to then
        gone[#gone + 1] = forgotten[index]
      end
    end
    if #gone > 0 then
      redis.call('HDEL', KEYS[6], unpack(gone))
    end
  end
  if #forgotten < width then
    break
  end
  start, width = start + width, math.min(SLICE, FORGET - start - width)
end
if taken > 0 then
  redis.call('LTRIM', KEYS[7], taken, -1)
end

sliced('HSET', KEYS[1], progress_first, progress_last)
redis.call('HSET', KEYS[1], 'records', redis.call('HLEN', KEYS[2]), 'timers', redis.call('ZCARD', KEYS[3]),
  'open', redis.call('SCARD', KEYS[5]), 'operations', redis.call('HLEN', KEYS[6]), 'ended', redis.call('LLEN', KEYS[7]))

first, last = section(2)
for index = first, last, 2 do
  redis.call('PUBLISH', ARGV[index], ARGV[index + 1])
end
return 1
