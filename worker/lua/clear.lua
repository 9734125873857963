-- Takes everything away that a partition holds, operations aside, and marks it as one that is being rebuilt:
-- `next` is then a negative number that only the rebuild knows, so that whoever else loads or commits is refused.
--
-- KEYS[1] progress   hash; see commit.lua
-- KEYS[2..] the other keys of the partition
-- ARGV[1] what `next` was when the rebuild looked, '' where it was absent
-- ARGV[2] the mark
--
-- Returns 1, or 0 where the partition has moved since.

if (redis.call('HGET', KEYS[1], 'next') or '') ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'next', ARGV[2])
return 1
