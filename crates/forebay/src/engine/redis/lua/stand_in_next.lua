-- Notes that a partition has a generation of a stand-in, and reads the next one that it is to be offered.
--
-- A generation that was added is held for a while, and then offered once more. A partition that has lost it meanwhile, because its
-- server went back in time, adds it again; from one that knows it still, it is removed here.
--
-- KEYS[1]  the live generation; KEYS[2] the list of the frozen ones, oldest first: see stand_in.lua; KEYS[3] the list of those that
--          are held: for each this server's time in µs when that began, a blank, and what a frozen one is; KEYS[4] who hands them
--          over: a string, so that one process does at a time. That saves work. Two of them do no harm.
-- ARGV[1]  who asks. ARGV[2] for how long it alone hands over, in ms. ARGV[3] the id of a generation that the partition has, or ''.
--          ARGV[4] what the partition said of it: 'added' or 'known'. ARGV[5] for how long one is held, in µs. ARGV[6] how long the
--          held ones are kept if nobody asks for them, in ms.
-- Example  EVALSHA <sha> 4 forebay:series:{hits.3~1}:live forebay:series:{hits.3~1}:frozen forebay:series:{hits.3~1}:held
--          forebay:series:{hits.3~1}:lease 0192… 5000 0192… added 3000000 63072000000
-- Reply    {'next', the generation: the oldest frozen one, or else the oldest that was held for long enough}; {'none'}; or
--          {'busy'}: another process hands over.

assert(#KEYS == 4 and #ARGV == 6, 'stand_in_next: four keys and six arguments')
local live, frozen, held, lease = unpack(KEYS)
local owner, done = ARGV[1], ARGV[3]

local function oldest_frozen() return call('LRANGE', frozen, 0, 0)[1] end
local now = server_time()
-- The oldest that is held: its entry, its generation, and whether it was held for long enough. A clock that was set back must not
-- keep it for ever.
local function oldest_held()
  local entry = call('LRANGE', held, 0, 0)[1]
  if not entry then return nil end
  local since, generation = string.match(entry, '^(%d+) (.*)$')
  return entry, generation, math.abs(now - since) >= tonumber(ARGV[5])
end
local function is_done(generation) return string.sub(generation, 1, #done + 1) == done .. ' ' end
-- The first write of each way through here needs no memory: see `freeze`.
local function hold(list, entry, generation)
  write('LREM', list, 1, entry)
  write('RPUSH', held, string.format('%.0f ', now) .. generation)
  write('PEXPIRE', held, ARGV[6])
end

if done ~= '' then
  local generation = oldest_frozen()
  local entry, before, is_due = oldest_held()
  if generation and is_done(generation) then
    hold(frozen, generation, generation)
  elseif entry and is_done(before) then
    if ARGV[4] == 'added' then
      hold(held, entry, before)
    elseif is_due then
      write('LREM', held, 1, entry)
    end
  end
end

local holder = call('GET', lease)
if holder and holder ~= owner then return { 'busy' } end
local next_one = oldest_frozen()
if not next_one then
  freeze(live, frozen)
  next_one = oldest_frozen()
end
if not next_one then
  local _, generation, is_due = oldest_held()
  if is_due then next_one = generation end
end
if not next_one then
  if holder then write('DEL', lease) end
  return { 'none' }
end
call('LREM', frozen, -1, '')
write('SET', lease, owner, 'PX', ARGV[2])
return { 'next', next_one }
