-- Charges runs of calls against limits of any kind: each key on its own, all under one rule.
--
-- keys     one or more, see keys.lua; a key holds what the file of the kind says, see kinds.lua. A key that is not there counts as zeros.
-- arg      packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the number of the kind (u1), its
--          rule. Nothing more: each key is taken once at cost 1. Else the runs, as in take_window.lua.
-- Reply    as take_window.lua.

local now, here, pos = read_time(arg)
local kind, rule
kind, rule, pos = read_rule(arg, pos, now)
if other_table then return other_table end
local unit, ones = rule.unit, pos > #arg
local read, expires, floor = kind.read, kind.expires, math.floor

-- What is taken by the calls of the runs that fit into a room.
local function run(room)
  local runs, taken = nil, 0
  runs, pos = struct.unpack('<I4', arg, pos)
  for _ = 1, runs do
    local cost, granted
    cost, granted, pos = struct.unpack('<I8I4', arg, pos)
    local fits = floor((room - taken) / cost)
    if granted > fits then granted = fits end
    if granted > 0 then taken = taken + granted * cost end
  end
  return taken
end

for i = 1, #states do
  local key, state = keys[i], states[i]
  local strange = state and (#state < 16 or (#state - 16) % 40 ~= 0)
  local first, level, capacity, allotments, previous = read(rule, state and not strange and state or EMPTY)
  if strange then capacity = -1 end
  local room, taken = floor((capacity - level) / unit), 0
  if not ones then
    taken = run(room)
  elseif room >= 1 then
    taken = 1
  end
  if not state then
    states[i] = EMPTY
  elseif #state > 16 and not strange then
    -- The caller knows nothing of allotments: it gets the level with what does not leak.
    states[i] = pack_state(first, level, previous)
  end
  if taken > 0 then
    level, allotments = level + taken * unit, allotments or ''
    local new = pack_state(first, level, previous) .. allotments
    local left = left_until(expires(rule, first, level, allotments), now, here)
    if state then
      write('SET', key, new, 'PX', left)
    else
      states[i] = foreign(key, new, left) or EMPTY
    end
  elseif strange or not state then
    states[i] = foreign(key) or EMPTY
  end
end
return struct.pack('<I8', now) .. table.concat(states)
