-- Reads where a partition stands, in one step: a commit between the two reads would look like lost records.
--
-- KEYS[1] progress  hash: see commit.lua
-- KEYS[2] tenants   hash, tenant -> packed record
--
-- Returns {{field, value, ...} of progress, number of tenants}.

return {redis.call('HGETALL', KEYS[1]), redis.call('HLEN', KEYS[2])}
