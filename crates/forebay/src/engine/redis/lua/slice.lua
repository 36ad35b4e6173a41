-- Lends budget of one key to one process, and takes back what it has no use for.
--
-- KEYS[1]  as take_window.lua, take_tokens.lua or take_sliding.lua says, with what slices.lua says.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the rule as in
--          take_all.lua; the holder (16 bytes), the sequence of its request, what it has not spent and keeps, what it has
--          not spent and gives back, what it would have on top, for how many µs that can be spent of a bucket (u8
--          each), and how many processes may hold something (u8).
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, 60000000, 0, 20, holder, 7, 2, 0, 10, 5000000, 256>
-- Reply    one string: the time that decided, the two integers as they are then, how much came on top, how much of what
--          is kept is known of, and µs until it ends (u8 each).

assert(#KEYS == 1 and #ARGV == 1, 'slice: one key and one argument')
local pack, read, ceil, floor = struct.pack, struct.unpack, math.ceil, math.floor
local key, arg = KEYS[1], ARGV[1]
local now, kind, pos = read('<i8I1', arg)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local stored = call('GET', key)
if stored and #stored < 16 then error('FOREIGN 1 the key holds a string of something else', 0) end
local state = stored or '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- As in take_all.lua; and when the slice ends, for how long it counts at most, and until when the key lives.
local first, level, before, unit, capacity, slices
local length, offset, limit, rate, burst, tick
if kind == 1 then
  length, offset, limit, pos = read('<I8I8I8', arg, pos)
  local index = now + offset
  index = (index - index % length) / length
  first, level = read('<I8I8', state)
  slices = state:sub(17)
  if first < index then first, level, slices = index, 0, '' end
  unit, capacity = 1, limit
elseif kind == 3 then
  length, limit, tick, pos = read('<I8I8I8', arg, pos)
  first, level, before, slices = slide(state, (now - now % tick) / tick, length)
  unit, capacity = 1, limit - ceil(before * (length - first % length) / length)
else
  rate, length, burst, tick, pos = read('<I8I8I8I8', arg, pos)
  first, level, slices = leak(state, (now - now % tick) / tick, rate, length, tick)
  unit, capacity = length, burst * length
end
local holder = arg:sub(pos, pos + 15)
local sequence, kept, back, want, span, most = read('<I8I8I8I8I8I8', arg, pos + 16)
local stop, longest
if kind == 1 then
  stop, longest = (first + 1) * length - offset, length
elseif kind == 3 then
  stop, longest = ((first - first % length) + length) * tick, length * tick
else
  stop, longest = math.max(now, first * tick) + span, span
end

local function answer(granted, known, rest)
  local words = before and pack('<I8I4I4', first, level, before) or pack('<I8I8', first, level)
  return pack('<I8', now) .. words .. pack('<I8I8I8', granted, known, rest)
end

local others, had = {}, 0
for at = 1, #slices, 40 do
  local seen, amount = read('<I8I8', slices, at + 16)
  if slices:sub(at, at + 15) ~= holder then
    others[#others + 1] = slices:sub(at, at + 39)
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
if kept + granted > 0 then
  local place = #others + 1
  while place > 1 and read('<I8', others[place - 1], 33) > stop do place = place - 1 end
  table.insert(others, place, holder .. pack('<I8I8I8', sequence, kept + granted, stop))
end
if stored or granted > 0 then
  slices = table.concat(others)
  local left
  if kind == 1 then
    left = (first + 2) * length - offset - now
  elseif kind == 3 then
    left = ((first - first % length) + 3 * length) * tick - now
  else
    left = (leaks_from(first, slices, tick) + ceil(level / rate) + length) * tick - now
  end
  if not here then left = left + 60000000 end
  local words = before and pack('<I8I4I4', first, level, before) or pack('<I8I8', first, level)
  write('SET', key, words .. slices, 'PX', string.format('%d', left / 1000 + 1))
end
return answer(granted, kept, math.min(math.max(stop - now, 0), longest))
