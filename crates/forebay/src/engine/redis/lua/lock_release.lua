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
local now = server_time()

-- By force also goes what is there of something else.
local forced, healed = claimant == '', false
local function heal(key, reply)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not forced or not string.find(reply.err, 'WRONGTYPE', 1, true) then error(reply.err, 0) end
  write('DEL', key)
  healed = true
  return nil
end

local state = heal(lock, redis.pcall('GET', lock))
if state and #state ~= 48 then
  state = heal(lock, { err = forced and 'WRONGTYPE' or 'FOREIGN 1 the key holds a string of something else' })
end
local freed, owner, fence, till, _ = false, nil, nil, nil, nil
if state then
  owner, fence, _, till = struct.unpack(FORM, state)
  freed = owner ~= NOBODY and till > now and (forced or owner == string.sub(claimant, 1, 16))
end

heal(queue, redis.pcall('ZCARD', queue))
for _, waiter in ipairs(heal(heard, redis.pcall('ZRANGEBYSCORE', heard, '-inf', text(now))) or {}) do
  leave(queue, heard, waiter)
end
local place = call('ZRANK', queue, claimant)
if place then leave(queue, heard, claimant) end
if freed then write('SET', lock, struct.pack(FORM, NOBODY, fence, 0, now, 0), 'PX', '86400000') end
if freed or place == 0 then
  local first = call('ZRANGE', queue, 0, 0)[1]
  -- Without the right to publish the waiter finds out by itself, only later.
  if first then redis.pcall('PUBLISH', ARGV[2] .. string.sub(first, 17), string.sub(first, 1, 16)) end
end
return (freed or healed or place) and 1 or 0
