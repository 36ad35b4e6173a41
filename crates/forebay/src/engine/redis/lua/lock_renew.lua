-- Extends the holder's lease to its full ttl from now.
--
-- KEYS[1]  the lock, as lock_claim.lua says.
-- ARGV[1]  the owner (16 bytes).
-- Example  EVALSHA <sha> 1 forebay:lock:{report} <owner>
-- Reply    the ttl in µs; 0: it does not hold the lock.

assert(#KEYS == 1 and #ARGV == 1, 'lock_renew: one key and one argument')
local FORM = '<c16I8I8I8I8'
local state = call('GET', KEYS[1])
if not state then return 0 end
if #state ~= 48 then error('FOREIGN 1 the key holds a string of something else', 0) end
local owner, fence, since, till, lease = struct.unpack(FORM, state)
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if owner ~= ARGV[1] or till <= now then return 0 end
state = struct.pack(FORM, owner, fence, since, now + lease, lease)
write('SET', KEYS[1], state, 'PX', string.format('%.0f', lease / 1000 + 86400000))
return lease
