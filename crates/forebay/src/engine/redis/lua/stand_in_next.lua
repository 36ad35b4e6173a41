-- Removes a generation that its partition has received from a stand-in, and reads the next one.
--
-- KEYS[1]  the live generation; KEYS[2] the list of the frozen ones, oldest first: see stand_in.lua; KEYS[3] who hands them over: a
--          string, so that one process does at a time. That saves work. Two of them do no harm.
-- ARGV[1]  who asks. ARGV[2] for how long it alone hands over, in ms. ARGV[3] the id of a generation that was received, or ''.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3~1}:live forebay:series:{hits.3~1}:frozen forebay:series:{hits.3~1}:lease
--          0192… 5000 0192…
-- Reply    {'next', the oldest frozen generation}; {'none'}; or {'busy'}: another process hands over.

assert(#KEYS == 3 and #ARGV == 3, 'stand_in_next: three keys and three arguments')
local live, frozen, lease = unpack(KEYS)
local owner, done = ARGV[1], ARGV[3]
local oldest = call('LRANGE', frozen, 0, 0)[1]
if done ~= '' and oldest and string.sub(oldest, 1, #done + 1) == done .. ' ' then
  write('LREM', frozen, 1, oldest)
  oldest = call('LRANGE', frozen, 0, 0)[1]
end
local holder = call('GET', lease)
if holder and holder ~= owner then return { 'busy' } end
if not oldest then
  freeze(live, frozen)
  oldest = call('LRANGE', frozen, 0, 0)[1]
end
if not oldest then
  if holder then write('DEL', lease) end
  return { 'none' }
end
-- As in `freeze`: without memory, too.
call('LREM', frozen, -1, '')
write('SET', lease, owner, 'PX', ARGV[2])
return { 'next', oldest }
