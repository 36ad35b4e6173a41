-- Charges runs of calls against token buckets: each key on its own, all under one rule.
--
-- keys     one or more, see keys.lua; a key holds two integers, 8 bytes each, little endian: a tick and the level at
--          it, in units of one token × period. A key that is not there counts as (0, 0).
-- arg      packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the
--          rate in tokens per period (u8), the period in ticks (u8), the burst in tokens (u8), the tick
--          in µs (u8). Then the runs, as in take_window.lua.
-- Reply    as take_window.lua.

local pack, read = struct.pack, struct.unpack
local floor = math.floor
local now, rate, period, burst, tick, pos = read('<i8I8I8I8I8', arg)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local ticks = (now - now % tick) / tick
local capacity = burst * period
local ones = pos > #arg

-- Until the bucket is full, and one period more; under the caller's clock by a minute more.
local function ttl(then_, level, allotments)
  local left = (leaks_from(then_, allotments, tick) + math.ceil(level / rate) + period) * tick - now
  if not here then left = left + 60000000 end
  return string.format('%d', left / 1000 + 1)
end

for i = 1, #states do
  local state = states[i]
  local then_, level, allotments, full = ticks, 0, '', capacity
  if state and #state > 16 and (#state - 16) % 40 == 0 then
    then_, level, allotments = leak(state, ticks, rate, period, tick)
    -- The caller knows nothing of allotments: it gets the level with what does not leak.
    states[i] = pack('<I8I8', then_, level)
  elseif state and #state == 16 then
    local seen, before = read('<I8I8', state)
    if seen >= ticks then
      then_, level = seen, before
    else
      level = before - (ticks - seen) * rate
      if level < 0 then level = 0 end
    end
  elseif state then
    full = -1
  else
    states[i] = EMPTY
  end
  local after = level
  if ones then
    if full - level >= period then after = level + period end
  else
    local runs
    runs, pos = read('<I4', arg, pos)
    for _ = 1, runs do
      local cost, granted
      cost, granted, pos = read('<I8I4', arg, pos)
      local fits = floor(floor((full - after) / period) / cost)
      if granted > fits then granted = fits end
      if granted > 0 then after = after + granted * cost * period end
    end
  end
  if after > level then
    local new, left = pack('<I8I8', then_, after) .. allotments, ttl(then_, after, allotments)
    if state then
      write('SET', keys[i], new, 'PX', left)
    else
      states[i] = foreign(keys[i], new, left) or EMPTY
    end
  elseif full < 0 or not state then
    states[i] = foreign(keys[i]) or EMPTY
  end
end
return pack('<I8', now) .. table.concat(states)
