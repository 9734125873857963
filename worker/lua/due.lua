-- Reads a page of the timers that are due, and where the partition stands, in one step.
--
-- KEYS[1] progress  hash, `next`, `timers` and `layout`
-- KEYS[2] timers    sorted set, tenant by the time of its next timer, ms
-- ARGV[1] now, ms
-- ARGV[2] how many due timers to pass over
-- ARGV[3] how many to return at the most
--
-- Returns {next, {tenant, ms, ...} due, ms of the first timer that is not due or '', 1 or 0 where timers were lost}.

local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', ARGV[2], ARGV[3])
local later = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local flat = {}
for _, item in ipairs(due) do
  flat[#flat + 1] = item
end
-- What stands in `timers` beside layout 1 was left by a worker that did not keep it.
local layout, number = unpack(redis.call('HMGET', KEYS[1], 'layout', 'timers'))
local whole = not number or tonumber(layout or '1') < 2 or tonumber(number) == redis.call('ZCARD', KEYS[2])
return {redis.call('HGET', KEYS[1], 'next') or '0', flat, later[2] or '', whole and 1 or 0}
