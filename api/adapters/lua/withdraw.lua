-- Deletes the receipt of a command that was not published, unless another request with the same id has replaced it.
--
-- KEYS: the receipt.
-- ARGV: the receipt as it was written.
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
end
