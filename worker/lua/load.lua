-- Reads what a batch needs, if the partition stands exactly where the lane believes it stands.
--
-- KEYS[1]   progress   hash; `next` is the offset of the first record not applied, `records` the number of tenants
-- KEYS[2]   tenants    hash, tenant -> packed record
-- KEYS[3..] operations strings, packed operation records
-- ARGV[1]   the lane's own position: `next` must equal it
-- ARGV[2..] tenants to read
--
-- Returns false where the fence refuses, else {records, operations}, each in the order asked, false for none.

local SLICE = 1000 -- below the limit of Lua's stack for unpack

local next_offset = redis.call('HGET', KEYS[1], 'next') or '0'
local records = tonumber(redis.call('HGET', KEYS[1], 'records') or '0')
if next_offset ~= ARGV[1] or redis.call('HLEN', KEYS[2]) ~= records then
  return false
end

local found, operations = {}, {}
for first = 2, #ARGV, SLICE do
  local last = math.min(first + SLICE - 1, #ARGV)
  local slice = redis.call('HMGET', KEYS[2], unpack(ARGV, first, last))
  for index = 1, last - first + 1 do
    found[#found + 1] = slice[index]
  end
end
for first = 3, #KEYS, SLICE do
  local last = math.min(first + SLICE - 1, #KEYS)
  local slice = redis.call('MGET', unpack(KEYS, first, last))
  for index = 1, last - first + 1 do
    operations[#operations + 1] = slice[index]
  end
end
return {found, operations}
