-- Freezes the live generation of a partition.
--
-- KEYS[1]  the live generation; KEYS[2] where it goes, named after its id; KEYS[3] the list of the frozen ones, oldest
--          first: "id born rows".
-- ARGV[1]  the id of the generation that is meant. ARGV[2] the age in µs from which it is due, ARGV[3] the number
--          of rows from which it is due: -1 for any. ARGV[4] how many may be frozen before: -1 for any number.
-- Example  EVALSHA <sha> 3 forebay:buffer:{projects.0}:live forebay:buffer:{projects.0}:frozen:0193…
--          forebay:buffer:{projects.0}:frozen 0193… 10000000 5000 8
-- Reply    {'frozen'}, {'idle'}: there is none, it is not due, or too many are frozen; {'other', id}: another
--          generation is live.

assert(#KEYS == 3 and #ARGV == 4, 'buffer_rotate: three keys and four arguments')
local live = call('HMGET', KEYS[1], '#gen', '#born', '#rows')
local id, born, rows = live[1], live[2], live[3]
if not id then return { 'idle' } end
if id ~= ARGV[1] then return { 'other', id } end
local age, enough, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if most >= 0 and call('LLEN', KEYS[3]) >= most then return { 'idle' } end
if enough >= 0 and tonumber(rows) < enough and server_time() - born < age then return { 'idle' } end
-- In this order: what was renamed and is not in the list would be found by nobody. A server without memory refuses RPUSH as
-- the first write of a script, and flushing is what frees memory: so the first one is LREM, which needs none and finds nothing.
local entry = id .. ' ' .. born .. ' ' .. rows
call('LREM', KEYS[3], -1, entry)
write('RPUSH', KEYS[3], entry)
local renamed, why = pcall(call, 'RENAME', KEYS[1], KEYS[2])
if not renamed then
  call('LREM', KEYS[3], -1, entry)
  wrote = false
  error(why, 0)
end
return { 'frozen' }
