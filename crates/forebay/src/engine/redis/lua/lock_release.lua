-- Gives a lock back, or leaves its queue, and wakes who is first then.
--
-- KEYS     as lock_claim.lua says.
-- ARGV[1]  owner (16 bytes) and inbox, as in the claim; empty: whoever holds it. ARGV[2] what comes before an
--          inbox in the name of its channel.
-- Example  EVALSHA <sha> 3 forebay:lock:{report} forebay:lock:{report}:queue forebay:lock:{report}:heard
--          <owner, inbox> forebay:inbox:
-- Reply    1; 0: it neither held the lock nor waited.

assert(#KEYS == 3 and #ARGV == 2, 'lock_release: three keys and two arguments')
local lock, queue, heard, claimant = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local NOBODY, FORM = string.rep('\0', 16), '<c16I8I8I8I8'
local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local freed = false
local state = call('GET', lock)
if state and #state == 48 then
  local owner, fence, _, till = struct.unpack(FORM, state)
  local held = owner ~= NOBODY and till > now
  freed = held and (claimant == '' or owner == string.sub(claimant, 1, 16))
  if freed then write('SET', lock, struct.pack(FORM, NOBODY, fence, 0, now, 0), 'PX', '86400000') end
end

for _, waiter in ipairs(call('ZRANGEBYSCORE', heard, '-inf', string.format('%.0f', now))) do
  write('ZREM', queue, waiter)
  write('ZREM', heard, waiter)
end
local place = call('ZRANK', queue, claimant)
if place then
  write('ZREM', queue, claimant)
  write('ZREM', heard, claimant)
end
if freed or place == 0 then
  local first = call('ZRANGE', queue, 0, 0)[1]
  -- Without the right to publish the waiter finds out by itself, only later.
  if first then redis.pcall('PUBLISH', ARGV[2] .. string.sub(first, 17), string.sub(first, 1, 16)) end
end
return (freed or place) and 1 or 0
