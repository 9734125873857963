-- Reads a page of the timers that are due, and the progress of the partition, in one step.
--
-- KEYS[1] progress  hash, `next`, `timers` and `layout`
-- KEYS[2] timers    sorted set, tenant by the time of its next timer, ms
-- ARGV[1] the timers that were due then are left out, ms; -1 for none
-- ARGV[2] now, ms
-- ARGV[3] how many due timers to skip
-- ARGV[4] how many to return at most
--
-- Returns {next, {tenant, ms, ...} due, ms of the first timer that is not due or '', 1, or 0 if timers were lost}.

local due = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], ARGV[2], 'WITHSCORES', 'LIMIT', ARGV[3], ARGV[4])
local later = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local flat = {}
for _, item in ipairs(due) do
  flat[#flat + 1] = item
end
-- With layout 1, `timers` is a stale value: a worker with that layout does not update it.
local layout, number = unpack(redis.call('HMGET', KEYS[1], 'layout', 'timers'))
local complete = not number or tonumber(layout or '1') < 2 or tonumber(number) == redis.call('ZCARD', KEYS[2])
return {redis.call('HGET', KEYS[1], 'next') or '0', flat, later[2] or '', complete and 1 or 0}
