-- Deletes all keys of a partition except receipts, and marks it as being rebuilt: `next` is then a negative number that
-- only the rebuild knows. So loads and commits of any other process are refused.
--
-- KEYS[1] progress   hash; see commit.lua
-- KEYS[2..] the other keys of the partition
-- ARGV[1] the `next` that the rebuild has read, '' if it was absent
-- ARGV[2] the mark
--
-- Returns 1, or 0 if the partition has moved since.

if (redis.call('HGET', KEYS[1], 'next') or '') ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'next', ARGV[2])
return 1
