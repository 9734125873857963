-- Reads where a partition stands, in one step: a commit between the two reads would look like lost records.
--
-- KEYS[1] progress  hash: see commit.lua
-- KEYS[2] tenants   hash, tenant -> packed record
-- KEYS[3..] the other keys of the partition
--
-- Returns {{field, value, ...} of progress, number of tenants, how many of the other keys there are}.

return {redis.call('HGETALL', KEYS[1]), redis.call('HLEN', KEYS[2]), redis.call('EXISTS', unpack(KEYS, 3))}
