-- Looks at a lock.
--
-- KEYS[1]  the lock, KEYS[2] who waits, by the time until which its place is kept: as lock_claim.lua says.
-- ARGV     none.
-- Example  EVALSHA <sha> 2 forebay:lock:{report} forebay:lock:{report}:heard
-- Reply    {number of waiters}, or {number of waiters, owner, fence, µs since it is held, µs until it ends}.

assert(#KEYS == 2 and #ARGV == 0, 'lock_state: two keys and no argument')
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local waiters = call('ZCOUNT', KEYS[2], '(' .. string.format('%.0f', now), '+inf')
local state = call('GET', KEYS[1])
if not state then return { waiters } end
if #state ~= 48 then error('FOREIGN 1 the key holds a string of something else', 0) end
local owner, fence, since, till = struct.unpack('<c16I8I8I8I8', state)
if owner == string.rep('\0', 16) or till <= now then return { waiters } end
return { waiters, owner, fence, now - since, till - now }
