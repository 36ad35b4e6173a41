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
return { waiters, owner, fence, now - since, till - now }
