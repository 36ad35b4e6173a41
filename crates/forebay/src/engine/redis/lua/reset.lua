-- Forgets what was taken of one key, but for what is lent of it.
--
-- KEYS[1]  as take_window.lua, take_tokens.lua or take_sliding.lua says, with what slices.lua says.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), and the rule as in
--          take_all.lua.
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, 60000000, 0, 20>
-- Reply    {how much of it is lent, until when at most in µs since 1970}: so much is still charged.

assert(#KEYS == 1 and #ARGV == 1, 'reset: one key and one argument')
local pack, read = struct.pack, struct.unpack
local key, arg = KEYS[1], ARGV[1]
local state = redis.pcall('GET', key)
local other = type(state) == 'table'
if other and not string.find(state.err, 'WRONGTYPE', 1, true) then error(state.err, 0) end
-- What is not of Forebay goes as a whole.
if not state or other or #state <= 16 or (#state - 16) % 40 ~= 0 then
  write('DEL', key)
  return { 0, 0 }
end
local now, kind, pos = read('<i8I1', arg)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local first, level, slices, unit, left
local length, offset, tick, rate, _
if kind == 1 then
  length, offset = read('<I8I8', arg, pos)
  local index = now + offset
  index = (index - index % length) / length
  first, level = read('<I8I8', state)
  slices = state:sub(17)
  if first < index then slices = '' end
  unit, left = 1, (first + 2) * length - offset - now
elseif kind == 3 then
  length, _, tick = read('<I8I8I8', arg, pos)
  first, level, _, slices = slide(state, (now - now % tick) / tick, length)
  unit, left = 1, ((first - first % length) + 3 * length) * tick - now
else
  rate, unit, _, tick = read('<I8I8I8I8', arg, pos)
  first, level, slices = leak(state, (now - now % tick) / tick, rate, unit, tick)
end
local lent = 0
for at = 1, #slices, 40 do lent = lent + read('<I8', slices, at + 24) end
if lent == 0 then
  write('DEL', key)
  return { 0, 0 }
end
level = math.min(level, lent * unit)
left = left or (leaks_from(first, slices, tick) + math.ceil(level / rate) + unit) * tick - now
if not here then left = left + 60000000 end
local words = kind == 3 and pack('<I8I4I4', first, level, 0) or pack('<I8I8', first, level)
write('SET', key, words .. slices, 'PX', string.format('%d', left / 1000 + 1))
return { lent, (read('<I8', slices, #slices - 7)) }
