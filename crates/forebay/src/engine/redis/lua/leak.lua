-- Shared by the scripts that charge token buckets, before their own text: what leaks of a bucket of which allotments are out.

-- A bucket at a tick: its tick, its level, and the allotments that are left. What is allotted does not leak until its end.
local function leak(state, ticks, rate, period, tick)
  local seen, level = struct.unpack('<I8I8', state)
  if seen > ticks then ticks = seen end
  local allotted, left = 0, 17
  for at = 17, #state, 40 do allotted = allotted + struct.unpack('<I8', state, at + 24) end
  local function fall(to)
    local leaked = math.max(level - (to - seen) * rate, 0)
    level = math.max(leaked, math.min(allotted * period, level))
    seen = to
  end
  for at = 17, #state, 40 do
    local amount, last = struct.unpack('<I8I8', state, at + 24)
    last = math.ceil(last / tick)
    if last > ticks then break end
    if last > seen then fall(last) end
    allotted, left = allotted - amount, at + 40
  end
  fall(ticks)
  return seen, level, state:sub(left)
end

-- The tick from which on all of a bucket leaks.
local function leaks_from(seen, allotments, tick)
  if allotments == '' then return seen end
  return math.max(seen, math.ceil(struct.unpack('<I8', allotments, #allotments - 7) / tick))
end
