-- Takes, extends or gives back a lease of one key, and counts the leases that stand.
--
-- KEYS[1]  a sorted set: the id of each lease (16 bytes), by the time in µs since 1970 at which it ends.
-- ARGV[1]  the id; that of a lease that stands is extended.
-- ARGV[2]  how many may stand, for a new one to be granted; 0: only what stands is extended.
-- ARGV[3]  for how long it is granted or extended, in µs; 0: it is given back; -1: only looked at; -2: the
--          same, and what is there of another type is removed.
-- Example  EVALSHA <sha> 1 forebay:leases:jobs:{42} <id> 10 30000000
-- Reply    whether it stands, or did before it was given back (1 or 0); how many stand; µs until the first of
--          them ends, and until the last (-1: there is none).

assert(#KEYS == 1 and #ARGV == 3, 'lease: one key and three arguments')
local key, id, most, span = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local now = server_time()

local swept = redis.pcall('ZREMRANGEBYSCORE', key, '-inf', string.format('%d', now))
if type(swept) == 'table' then
  if span ~= -2 or not string.find(swept.err, 'WRONGTYPE', 1, true) then error(swept.err, 0) end
  write('DEL', key)
end
local held = call('ZSCORE', key, id)
if span == 0 then
  write('ZREM', key, id)
elseif span > 0 and (held or call('ZCARD', key) < most) then
  write('ZADD', key, string.format('%d', now + span), id)
  held = true
end

local number = call('ZCARD', key)
if number == 0 then return { held and 1 or 0, 0, -1, -1 } end
local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] - now
local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')[2] - now
if span > 0 then write('PEXPIRE', key, string.format('%d', last / 1000 + 1)) end
return { held and 1 or 0, number, first, last }
