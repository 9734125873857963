-- Takes a cost from every window of a budget, or from none. A receipt is written only with the cost.
--
-- KEYS: a list for each window: the time of each unit taken, the newest first, in seconds of Redis' own clock. Then, for
-- a receipt, its key.
-- ARGV: the cost, the number of windows, then the amount and the seconds of each. Then, for a receipt, its bytes and its
-- lifetime in ms.
-- Returns the number of the first window that refuses, 0 where none does; 1 if the receipt was written, else 0; then for
-- each window how much is left of it, and after how many seconds there is more. For the refusing window that is when the
-- whole cost can be taken.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local cost, windows = tonumber(ARGV[1]), tonumber(ARGV[2])
local refusing, written = 0, 0

local function quota(number)
    return tonumber(ARGV[2 * number + 1]), tonumber(ARGV[2 * number + 2])
end

local function age(key, index)
    local taken = redis.call('LINDEX', key, index)
    return taken and now - tonumber(taken)
end

-- Drops what has left the window. The search takes some steps where one call at a time would take thousands.
local function forget(key, seconds)
    if (age(key, -1) or 0) <= seconds then
        return
    end
    local inside, outside = 0, redis.call('LLEN', key) - 1
    while inside < outside do
        local middle = math.floor((inside + outside) / 2)
        if age(key, middle) > seconds then
            outside = middle
        else
            inside = middle + 1
        end
    end
    if inside == 0 then
        redis.call('DEL', key)
    else
        redis.call('LTRIM', key, 0, inside - 1)
    end
end

for number = 1, windows do
    local key, amount, seconds = KEYS[number], quota(number)
    forget(key, seconds)
    if refusing == 0 and redis.call('LLEN', key) + cost > amount then
        refusing = number
    end
end

if refusing == 0 then
    local stamp = string.format('%.6f', now)
    for number = 1, windows do
        local key, _, seconds = KEYS[number], quota(number)
        for _ = 1, cost do
            redis.call('LPUSH', key, stamp)
        end
        redis.call('EXPIRE', key, seconds)
    end
    local receipt = KEYS[windows + 1]
    -- The first receipt of an id stays.
    if receipt and redis.call('SET', receipt, ARGV[2 * windows + 3], 'PX', ARGV[2 * windows + 4], 'NX') then
        written = 1
    end
end

local answer = { refusing, written }
for number = 1, windows do
    local key, amount, seconds = KEYS[number], quota(number)
    local index = -1
    if number == refusing then
        -- The newest unit that has to leave before the cost fits; all of them where it never fits.
        index = amount - math.min(cost, amount)
    end
    local since = age(key, index) or 0
    answer[#answer + 1] = math.max(amount - redis.call('LLEN', key), 0)
    answer[#answer + 1] = string.format('%.6f', seconds - since)
end
return answer
