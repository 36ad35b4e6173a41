-- Shared by the scripts that charge limits, before their own text: what is lent of a key.
--
-- A limit's state, 16 bytes, is followed by the slices of it that are lent, by their ends: for each the holder
-- (16 bytes), the sequence of its request, how much, and the end in µs since 1970 (u8 each). Slices of a window end
-- with it. What is lent of a bucket does not leak until its slice ends.

-- A bucket at a tick: its tick, its level, and the slices that are left.
local function leak(state, ticks, rate, period, tick)
  local seen, level = struct.unpack('<I8I8', state)
  if seen > ticks then ticks = seen end
  local lent, left = 0, 17
  for at = 17, #state, 40 do lent = lent + struct.unpack('<I8', state, at + 24) end
  local function fall(to)
    local leaked = math.max(level - (to - seen) * rate, 0)
    level = math.max(leaked, math.min(lent * period, level))
    seen = to
  end
  for at = 17, #state, 40 do
    local amount, last = struct.unpack('<I8I8', state, at + 24)
    last = math.ceil(last / tick)
    if last > ticks then break end
    if last > seen then fall(last) end
    lent, left = lent - amount, at + 40
  end
  fall(ticks)
  return seen, level, state:sub(left)
end

-- The tick from which on all of a bucket leaks.
local function leaks_from(seen, slices, tick)
  if slices == '' then return seen end
  return math.max(seen, math.ceil(struct.unpack('<I8', slices, #slices - 7) / tick))
end

-- A window's state as of an index or tick: what is used of it, of the one before, and its slices; and the state's own
-- tick, if that is later.
local function slide(state, ticks, length)
  local seen, current, last = struct.unpack('<I8I4I4', state)
  if seen >= ticks then return seen, current, last, state:sub(17) end
  local passed = ((ticks - ticks % length) - (seen - seen % length)) / length
  if passed == 0 then return ticks, current, last, state:sub(17) end
  if passed == 1 then return ticks, 0, current, '' end
  return ticks, 0, 0, ''
end

