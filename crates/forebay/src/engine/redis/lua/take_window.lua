-- Charges runs of calls against fixed windows: each key on its own, all under one rule.
--
-- keys     one or more, see keys.lua and keys_across.lua; a key holds two integers, 8 bytes each, little endian: the window's index
--          and what is used of it. A key that is not there counts as (0, 0). Its allotments follow: see kinds.lua.
-- arg      packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the
--          window's length in µs (u8), what is added to the time before dividing by it (u8), the
--          quota (u8). Nothing more: each key is taken once at cost 1. Else for each key the number of
--          its runs (u4), and for each run the cost of a call (u8) and the number of calls (u4).
-- Reply    one string: the time that decided (u8), then for each key the two integers as they were.
--          Of a key that holds something else see foreign.lua. The caller runs the same arithmetic over them, which tells it what became of each call.

local pack, read = struct.pack, struct.unpack
local now, length, offset, limit, pos = read('<i8I8I8I8', arg)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local index = now + offset
index = (index - index % length) / length
local ones = pos > #arg

-- A key outlives its window by one window; under the caller's clock by a minute more.
local function ttl(window)
  local left = (window + 2) * length - offset - now
  if not here then left = left + 60000000 end
  return string.format('%d', left / 1000 + 1)
end

-- What is used after one more, by the state before: many keys of a batch stand at the same count.
local next_used = {}
for i = 1, #states do
  local state = states[i]
  local next = next_used[state]
  if next then
    write('SETRANGE', keys[i], '8', next)
  else
    local window, used = index, 0
    local known, allotments = false, ''
    if state and #state >= 16 then
      local seen, before = read('<I8I8', state)
      if seen >= index then window, used, known = seen, before, true end
      if #state > 16 then
        if (#state - 16) % 40 ~= 0 then window, used = nil, limit end
        if known then allotments = state:sub(17) end
        states[i] = state:sub(1, 16)
      end
    elseif state then
      window, used = nil, limit
    else
      states[i] = EMPTY
    end
    local after = used
    if ones then
      if used < limit then after = used + 1 end
    else
      local runs
      runs, pos = read('<I4', arg, pos)
      for _ = 1, runs do
        local cost, granted
        cost, granted, pos = read('<I8I4', arg, pos)
        local fits = math.floor((limit - after) / cost)
        if granted > fits then granted = fits end
        if granted > 0 then after = after + granted * cost end
      end
    end
    if after > used then
      if known and here then
        -- In place, which keeps the time to live: it is the same for the whole window.
        next = pack('<I8', after)
        if ones and #state == 16 then next_used[state] = next end
        write('SETRANGE', keys[i], '8', next)
      elseif state then
        write('SET', keys[i], pack('<I8I8', window, after) .. allotments, 'PX', ttl(window))
      else
        states[i] = foreign(keys[i], pack('<I8I8', window, after), ttl(window)) or EMPTY
      end
    elseif not window or not state then
      states[i] = foreign(keys[i]) or EMPTY
    end
  end
end
return pack('<I8', now) .. table.concat(states)
