-- Extends the holder's lease to its full ttl from now.
--
-- KEYS[1]  the lock, as lock_claim.lua says.
-- ARGV[1]  the owner (16 bytes).
-- Example  EVALSHA <sha> 1 forebay:lock:{report} <owner>
-- Reply    the ttl in µs; 0: it does not hold the lock.

assert(#KEYS == 1 and #ARGV == 1, 'lock_renew: one key and one argument')
local state = read_lock(KEYS[1])
if not state then return 0 end
local owner, fence, since, till, lease = struct.unpack(FORM, state)
local now = server_time()
if owner ~= ARGV[1] or till <= now then return 0 end
state = struct.pack(FORM, owner, fence, since, now + lease, lease)
write('SET', KEYS[1], state, 'PX', text(lease / 1000 + 86400000))
return lease
