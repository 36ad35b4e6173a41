-- Takes a lock, or a place in its queue.
--
-- KEYS[1]  the lock, packed, little endian: its owner (16 bytes, zeros: nobody), the last fence, since when it
--          is held, until when it is held (of a free one: since when it is free) and its ttl (u8 each; all
--          times in µs of this server's clock).
-- KEYS[2]  who waits, by arrival: owner (16 bytes) and inbox.
-- KEYS[3]  who waits, by the time until which its place is kept.
-- ARGV[1]  the claimant: owner (16 bytes) and inbox. ARGV[2] the ttl in µs. ARGV[3] for how many µs its place
--          is to be kept; 0: it does not wait. ARGV[4] the µs of a turn. ARGV[5] how many may wait.
-- Example  EVALSHA <sha> 3 forebay:lock:{report} forebay:lock:{report}:queue forebay:lock:{report}:heard
--          <owner, inbox> 10000000 5000000 2000000 16384
-- Reply    {1, fence}: held. {0, owner, µs, number}: held by that owner for so long (0: free, and its turn),
--          and so many wait before the claimant. {-1}: too many wait.

assert(#KEYS == 3 and #ARGV == 5, 'lock_claim: three keys and five arguments')
local pack, read = struct.pack, struct.unpack
local lock, queue, heard = KEYS[1], KEYS[2], KEYS[3]
local claimant, me = ARGV[1], string.sub(ARGV[1], 1, 16)
local ttl, patience, turn, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = server_time()

local owner, fence, since, till, lease = NOBODY, 0, 0, 0, 0
local state = read_lock(lock)
if state then owner, fence, since, till, lease = read(FORM, state) end
-- The fence is remembered for a day longer than the lease, which is a day at most.
local function save()
  write('SET', lock, pack(FORM, owner, fence, since, till, lease), 'PX', text(lease / 1000 + 86400000))
end

local held = owner ~= NOBODY and till > now
if till > now + lease then
  -- This server's clock was set back. Nobody waits longer for that than a lease.
  till = now + lease
  save()
end
if held and owner == me then
  till, lease = now + ttl, ttl
  save()
  return { 1, fence }
end

for _, waiter in ipairs(call('ZRANGEBYSCORE', heard, '-inf', text(now))) do leave(queue, heard, waiter) end
local waiting = call('ZCARD', queue)
if waiting ~= call('ZCARD', heard) then
  -- One of the two was evicted: who waits queues again.
  write('DEL', queue, heard)
  waiting = 0
end
local place = call('ZRANK', queue, claimant)
local ahead = place or waiting
if not held and (waiting == 0 or till + ahead * turn <= now) then
  if place then leave(queue, heard, claimant) end
  -- Larger than every fence before, also when the last one has been forgotten.
  owner, fence, since, till, lease = me, math.max(fence + 1, now), now, now + ttl, ttl
  save()
  return { 1, fence }
end

if patience > 0 then
  if not place then
    if waiting >= most then return { -1 } end
    local last = call('ZREVRANGE', queue, 0, 0, 'WITHSCORES')
    write('ZADD', queue, text((last[2] or 0) + 1), claimant)
  end
  write('ZADD', heard, text(now + patience), claimant)
  local latest = call('ZREVRANGE', heard, 0, 0, 'WITHSCORES')[2]
  local life = text((latest - now) / 1000 + 1000)
  write('PEXPIRE', queue, life)
  write('PEXPIRE', heard, life)
end
if held then return { 0, owner, till - now, ahead } end
return { 0, string.sub(call('ZRANGE', queue, 0, 0)[1], 1, 16), 0, ahead }
