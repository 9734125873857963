-- Reads the records and commands that a piece needs, if progress is at the lane's position.
--
-- KEYS[1]   progress    hash; `next` is the offset of the first record not applied, `records` the number of tenants,
--                       `operations` that of commands, from layout 3 on
-- KEYS[2]   tenants     hash, tenant -> packed record
-- KEYS[3]   operations  hash, digest of tenant and id -> packed operation
-- KEYS[4..] the key that each operation to read had until layout 3
-- ARGV[1]   the lane's own position: `next` must equal it
-- ARGV[2]   the limit for the size of the records in bytes: the record that exceeds it is the last
-- ARGV[3]   how many tenants to read, then the tenants, then the fields of the operations to read
--
-- Returns false if the fence refuses, else {records, operations}, each in the order of the request, false for none.
-- There may be fewer records than requested.

local SLICE = 1000 -- below the limit of Lua's stack for unpack
local RECORDS = 50 -- of at most 60 KiB each: a slice is not much larger than the answer

local fields = redis.call('HMGET', KEYS[1], 'next', 'records', 'layout', 'operations')
if (fields[1] or '0') ~= ARGV[1] or redis.call('HLEN', KEYS[2]) ~= tonumber(fields[2] or '0') then
  return false
end
-- A command whose record was lost would be applied again. Older layouts have no number of commands.
if tonumber(fields[3] or '1') >= 3 and fields[4] and redis.call('HLEN', KEYS[3]) ~= tonumber(fields[4]) then
  return false
end

-- Returns the values of a hash under ARGV[first] to ARGV[last], up to the one that exceeds `most` bytes, if given.
local function read(key, first, last, width, most)
  local values, size = {}, 0
  for start = first, last, width do
    local stop = math.min(start + width - 1, last)
    local slice = redis.call('HMGET', key, unpack(ARGV, start, stop))
    for index = 1, stop - start + 1 do
      values[#values + 1] = slice[index]
      size = size + (slice[index] and #slice[index] or 0)
      if most and size >= most then
        return values
      end
    end
  end
  return values
end

local tenants = tonumber(ARGV[3])
local records = read(KEYS[2], 4, tenants + 3, RECORDS, tonumber(ARGV[2]))
local operations = read(KEYS[3], tenants + 4, #ARGV, SLICE)
for first = 4, #KEYS, SLICE do
  local slice = redis.call('MGET', unpack(KEYS, first, math.min(first + SLICE - 1, #KEYS)))
  for index = 1, #slice do
    operations[first - 4 + index] = operations[first - 4 + index] or slice[index]
  end
end
return {records, operations}
