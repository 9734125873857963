-- Reads a slice of the records of a partition, and its progress, in one step.
--
-- KEYS[1] progress  hash; see worker/adapters/lua/commit.lua
-- KEYS[2] tenants   hash, tenant -> packed record
-- ARGV[1] where the scan continues, 0 for its start
-- ARGV[2] about how many records to return
-- ARGV[3] how many bytes the rules have that the caller knows, -1 for none
--
-- Returns {the server's process, next, refolds_to, states_next, records, number of records, bytes of the rules, the rules
-- or false if the caller knows them, where the scan continues or 0 at its end, {tenant, record, ...}}. A field that
-- progress lacks is false.

-- The cursor of a scan means nothing to another process. A server that refuses INFO to this user gives none.
local info = redis.pcall('INFO', 'server')
local process = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
local fields = redis.call('HMGET', KEYS[1], 'next', 'refolds_to', 'states_next', 'records')
local size = redis.call('HSTRLEN', KEYS[1], 'rules')
-- The rules only grow, so their size tells whether they are the same.
local rules = size ~= tonumber(ARGV[3]) and redis.call('HGET', KEYS[1], 'rules')
local page = redis.call('HSCAN', KEYS[2], ARGV[1], 'COUNT', ARGV[2])
return {process, fields[1], fields[2], fields[3], fields[4], redis.call('HLEN', KEYS[2]), size, rules, page[1], page[2]}
