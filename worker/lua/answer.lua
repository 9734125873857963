-- Publishes the outcomes that callers wait for, in one round trip; a cluster passes them on to every node.
--
-- ARGV channel and packed operation record, one pair after another
--
-- Returns nothing.

for index = 1, #ARGV, 2 do
  redis.call('PUBLISH', ARGV[index], ARGV[index + 1])
end
