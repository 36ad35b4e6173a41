-- Gives costs back to keys, never below empty.
--
-- KEYS     each as take_window.lua, take_tokens.lua or take_sliding.lua says; one, or with an owner any number, and before
--          them the token of the request whose charge it is, as take_all.lua has it.
-- ARGV     for each key, packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the cost
--          (u8), the window or tick that was charged, or -1 for whatever is there (i8), and the rule as in
--          take_all.lua. Of a window that is over nothing comes back, of a bucket what has not leaked since. Then, with a
--          token, its owner, 16 bytes: if it is another's, or not there, nothing comes back; else it goes.
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, -1, 1, 60000000, 0, 20>
-- Reply    one string: the time that decided (u8), then the two integers as they were. With a token: 1, or 0 for nothing.

assert(#KEYS >= 1 and #ARGV >= 1, 'refund: one or more keys, and an argument for each')
local pack, read = struct.pack, struct.unpack

local function refund(place, arg)
  local key = KEYS[place]
  local now, cost, charged, kind, pos = read('<i8I8i8I1', arg)
  local here = now < 0
  if here then
    local time = call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  local state = call('GET', key)
  if state and #state < 16 then
    error('FOREIGN ' .. place .. ' the key holds a string of something else', 0)
  end
  if not state then return pack('<I8', now) .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' end

  local seen, before = read('<I8I8', state)
  local slices = state:sub(17)
  state = state:sub(1, 16)
  local level, back, left, packed = before, cost, nil, nil
  if kind == 1 then
    local length, offset = read('<I8I8', arg, pos)
    local index = now + offset
    index = (index - index % length) / length
    if seen < index then seen, level, slices = index, 0, '' end
    left = (seen + 2) * length - offset - now
    if charged >= 0 and charged ~= seen then back = 0 end
  elseif kind == 3 then
    local length, _, tick = read('<I8I8I8', arg, pos)
    local current, last
    seen, current, last, slices = slide(state .. slices, (now - now % tick) / tick, length)
    local passed = 0
    if charged >= 0 then passed = ((seen - seen % length) - (charged - charged % length)) / length end
    level = 0
    if passed == 0 then
      level, current = current, math.max(current - back, 0)
    elseif passed == 1 then
      level, last = last, math.max(last - back, 0)
    end
    packed = pack('<I8I4I4', seen, current, last)
    left = ((seen - seen % length) + 3 * length) * tick - now
  else
    local rate, period, _, tick = read('<I8I8I8I8', arg, pos)
    local lends = slices ~= ''
    seen, level, slices = leak(state .. slices, (now - now % tick) / tick, rate, period, tick)
    -- The caller knows nothing of slices: it gets the level with what does not leak.
    if lends then state = pack('<I8I8', seen, level) end
    back = cost * period
    if charged > seen then
      back = 0
    elseif charged >= 0 then
      back = back - (seen - charged) * rate
    end
    left = (leaks_from(seen, slices, tick) + math.ceil(level / rate) + period) * tick - now
  end
  if level > 0 and back > 0 then
    level = level - back
    if level < 0 then level = 0 end
    if not here then left = left + 60000000 end
    write('SET', key, (packed or pack('<I8I8', seen, level)) .. slices, 'PX', string.format('%d', left / 1000 + 1))
  end
  return pack('<I8', now) .. state
end

if #ARGV == #KEYS and #KEYS == 1 then return refund(1, ARGV[1]) end
assert(#ARGV == #KEYS, 'refund: with a token an argument for each key, and the owner')
local kept = call('GET', KEYS[1])
if not kept or kept:sub(1, 16) ~= ARGV[#ARGV] then return 0 end
-- First: a charge that is not given back and has no token denies too much, and never too little.
write('DEL', KEYS[1])
for i = 2, #KEYS do refund(i, ARGV[i - 1]) end
return 1
