-- Grants budget of one key to one process, and takes back what it has no use for.
--
-- KEYS[1]  as the file of the kind says, see kinds.lua.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the number of the kind (u1), its
--          rule; the holder (16 bytes), the sequence of its request, what it has not spent and keeps, what it has not spent and gives
--          back, what it wants on top, for how many µs an allotment of a bucket can be spent (u8 each), and how many processes may hold
--          something (u8).
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, 60000000, 0, 20, holder, 7, 2, 0, 10, 5000000, 256>
-- Reply    one string: the time that decided, the two integers as they are then, how much came on top, how much of what
--          is kept is known of, and µs until it ends (u8 each).

assert(#KEYS == 1 and #ARGV == 1, 'allot: one key and one argument')
local pack, read, floor = struct.pack, struct.unpack, math.floor
local key, arg = KEYS[1], ARGV[1]
local now, here, pos = read_time(arg)
local stored = call('GET', key)
if stored and #stored < 16 then refuse_foreign(1) end
local kind, rule
kind, rule, pos = read_rule(arg, pos, now)
if other_table then return other_table end
local state = stored or '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local first, level, capacity, allotments, previous = kind.read(rule, state)
local unit = rule.unit
local holder = arg:sub(pos, pos + 15)
local sequence, kept, back, want, span, most = read('<I8I8I8I8I8I8', arg, pos + 16)

local function answer(granted, known, rest)
  return pack('<I8', now) .. pack_state(first, level, previous) .. pack('<I8I8I8', granted, known, rest)
end

allotments = allotments or ''
local others, had = {}, 0
for at = 1, #allotments, 40 do
  local seen, amount = read('<I8I8', allotments, at + 16)
  if allotments:sub(at, at + 15) ~= holder then
    others[#others + 1] = allotments:sub(at, at + 39)
  elseif seen >= sequence then
    return answer(0, 0, 0)
  else
    had = amount
  end
end

back = math.min(back, had)
kept = math.min(kept, had - back)
level = math.max(level - back * unit, 0)
local granted = 0
if #others < most then
  local room = math.max(floor((capacity - level) / unit), 0)
  granted = math.min(want, floor(room / (#others + 2)))
end
level = level + granted * unit
local stop, longest = kind.ends(rule, first, now, span)
if kept + granted > 0 then
  local place = #others + 1
  while place > 1 and read('<I8', others[place - 1], 33) > stop do place = place - 1 end
  table.insert(others, place, holder .. pack('<I8I8I8', sequence, kept + granted, stop))
end
if stored or granted > 0 then
  allotments = table.concat(others)
  local left = left_until(kind.expires(rule, first, level, allotments), now, here)
  write('SET', key, pack_state(first, level, previous) .. allotments, 'PX', left)
end
return answer(granted, kept, math.min(math.max(stop - now, 0), longest))
