-- Extends the holder's lease to its full ttl from now.
--
-- KEYS[1]  the lock, as lock_claim.lua says.
-- ARGV[1]  the owner (16 bytes). ARGV[2] another ttl in µs, for this and later renewals; 0: the one it has.
-- Example  EVALSHA <sha> 1 forebay:lock:{report} <owner> 0
-- Reply    the ttl in µs; 0: it does not hold the lock.

assert(#KEYS == 1 and #ARGV == 2, 'lock_renew: one key and two arguments')
local state = read_lock(KEYS[1])
if not state then return 0 end
local owner, fence, since, till, lease = struct.unpack(FORM, state)
local now = server_time()
if owner ~= ARGV[1] or till <= now then return 0 end
local ttl = tonumber(ARGV[2])
-- The holder may not hear of this: the lease must not end sooner than it knows. After this clock was set back more is left than the ttl.
if ttl > 0 then lease = math.max(ttl, math.min(till - now, lease)) end
state = struct.pack(FORM, owner, fence, since, now + lease, lease)
write('SET', KEYS[1], state, 'PX', text(lease / 1000 + 86400000))
return lease
