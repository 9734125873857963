-- Writes the receipt of a published command, unless the command's record exists: the commit that wrote the record has
-- deleted the receipt, and no later commit would delete another one.
--
-- KEYS: the receipt; the partition's hash of commands.
-- ARGV: the command's field in the hash; the receipt; its lifetime in ms; the time in ms up to which the log has
-- forgotten commands that ended; `NX` if the receipt must not replace another one.
-- Returns the command's record, or nothing where there is none that the log remembers.

-- A record is led by its layout, one byte, and its end, eight bytes with the highest first.
local function end_of(record)
    local time = 0
    for place = 2, 9 do
        time = time * 256 + (string.byte(record, place) or 0)
    end
    return time
end

local record = redis.call('HGET', KEYS[2], ARGV[1])
-- The log takes the id of a forgotten command as a new one, and any commit may delete the old record before that.
if record and end_of(record) > tonumber(ARGV[4]) then
    return record
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3], unpack(ARGV, 5))
return false
