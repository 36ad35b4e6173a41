-- Charges runs of calls against sliding windows: each key on its own, all under one rule.
--
-- KEYS     one or more; a key holds a tick (8 bytes), what is used of the window in which the tick lies, and
--          what was used of the one before (4 bytes each), little endian. A key that is not there counts as zeros.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the
--          window's length in ticks (u8), the quota (u8), the tick in µs (u8). Then the runs, as in take_window.lua.
-- Example  EVALSHA <sha> 1 forebay:sliding:hits:60s:{42} <-1, 60000000, 20, 1>
-- Reply    as take_window.lua.

assert(#KEYS >= 1 and #ARGV == 1, 'take_sliding: one or more keys and one argument')
local pack, read = struct.pack, struct.unpack
local floor, ceil = math.floor, math.ceil
local arg = ARGV[1]
local now, length, limit, tick, pos = read('<i8I8I8I8', arg)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local ticks = (now - now % tick) / tick
local window = (ticks - ticks % length) / length
local ones = pos > #arg

-- Until it counts nothing, and one window more; under the caller's clock by a minute more.
local function ttl(seen)
  local left = ((seen - seen % length) + 3 * length) * tick - now
  if not here then left = left + 60000000 end
  return string.format('%d', left / 1000 + 1)
end

local EMPTY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local states = call('MGET', unpack(KEYS))
for i, state in ipairs(states) do
  local seen, used, before, slices, most = ticks, 0, 0, '', limit
  if state and #state > 16 and (#state - 16) % 40 == 0 then
    seen, used, before, slices = slide(state, ticks, length)
    states[i] = state:sub(1, 16)
  elseif state and #state == 16 then
    local then_, current, previous = read('<I8I4I4', state)
    local passed = window - (then_ - then_ % length) / length
    if then_ >= ticks then
      seen, used, before = then_, current, previous
    elseif passed == 0 then
      used, before = current, previous
    elseif passed == 1 then
      before = current
    end
  elseif state then
    most = -1
  else
    states[i] = EMPTY
  end
  local room = most - used - ceil(before * (length - seen % length) / length)
  local after = used
  if ones then
    if room >= 1 then after = used + 1 end
  else
    local runs
    runs, pos = read('<I4', arg, pos)
    for _ = 1, runs do
      local cost, granted
      cost, granted, pos = read('<I8I4', arg, pos)
      local fits = floor((room - (after - used)) / cost)
      if granted > fits then granted = fits end
      if granted > 0 then after = after + granted * cost end
    end
  end
  if after > used then
    local new = pack('<I8I4I4', seen, after, before) .. slices
    if state then
      write('SET', KEYS[i], new, 'PX', ttl(seen))
    else
      states[i] = foreign(KEYS[i], new, ttl(seen)) or EMPTY
    end
  elseif most < 0 or not state then
    states[i] = foreign(KEYS[i]) or EMPTY
  end
end
return pack('<I8', now) .. table.concat(states)
