-- Looks at a lock.
--
-- KEYS[1]  the lock, KEYS[2] who waits, by the time until which its place is kept: as lock_claim.lua says.
-- ARGV     none.
-- Example  EVALSHA <sha> 2 forebay:lock:{report} forebay:lock:{report}:heard
-- Reply    {number of waiters}, or {number of waiters, owner, fence, µs since it is held, µs until it ends}.

assert(#KEYS == 2 and #ARGV == 0, 'lock_state: two keys and no argument')
local now = server_time()
local waiters = call('ZCOUNT', KEYS[2], '(' .. text(now), '+inf')
local state = read_lock(KEYS[1])
if not state then return { waiters } end
local owner, fence, since, till = struct.unpack(FORM, state)
if owner == NOBODY or till <= now then return { waiters } end
-- Of a lock that came from a host whose clock is ahead, or after this one was set back.
local held_for = math.max(now - since, 0)
return { waiters, owner, fence, held_for, till - now }
