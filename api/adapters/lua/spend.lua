-- Takes a cost from every window of a budget, or from none.
--
-- KEYS: a list for each window: the time of each unit taken, the newest first, in seconds of Redis' own clock.
-- ARGV: the cost, then the amount and the seconds of each window.
-- Returns the number of the first window that refuses, 0 where none does; then for each window how much is left of it,
-- and after how many seconds there is more. For the refusing window that is when the whole cost can be taken.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local cost = tonumber(ARGV[1])
local refusing = 0

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

for number, key in ipairs(KEYS) do
    local amount, seconds = tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1])
    forget(key, seconds)
    if refusing == 0 and redis.call('LLEN', key) + cost > amount then
        refusing = number
    end
end

if refusing == 0 then
    local stamp = string.format('%.6f', now)
    for number, key in ipairs(KEYS) do
        for _ = 1, cost do
            redis.call('LPUSH', key, stamp)
        end
        redis.call('EXPIRE', key, ARGV[2 * number + 1])
    end
end

local answer = { refusing }
for number, key in ipairs(KEYS) do
    local amount, seconds = tonumber(ARGV[2 * number]), tonumber(ARGV[2 * number + 1])
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
