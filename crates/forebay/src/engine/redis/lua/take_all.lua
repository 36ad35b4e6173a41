-- Charges requests over several keys, of any rules: each request whole or not at all.
--
-- KEYS     one or more, each once; they hold what take_window.lua, take_tokens.lua and take_sliding.lua say.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock); then for
--          each key its rule: kind 1 (u1) and length, offset, limit of a fixed window (u8 each), kind 2 (u1)
--          and rate, period, burst, tick of a token bucket (u8 each), or kind 3 (u1) and length, limit, tick of a
--          sliding window (u8 each).
-- ARGV[2]  packed: for each run of equal requests the number of requests (u4), the number of keys in each
--          (u2), and for each of these keys its place in KEYS, from 1 (u2), and the cost, at least 1 (u8).
-- Example  EVALSHA <sha> 2 forebay:window:hits:60s:{42} forebay:window:all:60s:{*} <-1, 1, …> <1, 2, 1, 1, 2, 1>
-- Reply    as take_window.lua.

assert(#KEYS >= 1 and #ARGV == 2, 'take_all: one or more keys and two arguments')
local call, pack, read = redis.call, struct.pack, struct.unpack
local floor = math.floor
local rules, requests = ARGV[1], ARGV[2]
local now, pos = read('<i8', rules)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- Each key as (first, level, unit, capacity): `first` is the window or the tick, `level` what is in use
-- of `capacity`, and one token weighs `unit`. A window is a bucket with unit 1 that nothing leaks from; of a
-- sliding one's capacity that is gone which the window `before` still takes.
local first, level, unit, capacity, ttl, changed, previous = {}, {}, {}, {}, {}, {}, {}
local slices = {}
local EMPTY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local states = call('MGET', unpack(KEYS))
for i, state in ipairs(states) do
  if not state or #state < 16 then state = EMPTY end
  local seen, before = read('<I8I8', state)
  slices[i], states[i] = state:sub(17), state:sub(1, 16)
  local kind
  kind, pos = read('<I1', rules, pos)
  if kind == 1 then
    local length, offset, limit
    length, offset, limit, pos = read('<I8I8I8', rules, pos)
    local index = now + offset
    index = (index - index % length) / length
    if seen < index then seen, before, slices[i] = index, 0, '' end
    unit[i], capacity[i] = 1, limit
    ttl[i] = function() return (seen + 2) * length - offset - now end
  elseif kind == 3 then
    local length, limit, tick
    length, limit, tick, pos = read('<I8I8I8', rules, pos)
    local last
    seen, before, last, slices[i] = slide(state, (now - now % tick) / tick, length)
    previous[i] = last
    unit[i], capacity[i] = 1, limit - math.ceil(last * (length - seen % length) / length)
    ttl[i] = function() return ((seen - seen % length) + 3 * length) * tick - now end
  else
    local rate, period, burst, tick
    rate, period, burst, tick, pos = read('<I8I8I8I8', rules, pos)
    seen, before, slices[i] = leak(state, (now - now % tick) / tick, rate, period, tick)
    -- The caller knows nothing of slices: it gets the level with what does not leak.
    if #state > 16 then states[i] = pack('<I8I8', seen, before) end
    unit[i], capacity[i] = period, burst * period
    ttl[i] = function() return (leaks_from(seen, slices[i], tick) + math.ceil(level[i] / rate) + period) * tick - now end
  end
  first[i], level[i] = seen, before
end

local at = 1
while at <= #requests do
  local granted, keys
  granted, keys, at = read('<I4I2', requests, at)
  local from = at
  for _ = 1, keys do
    local i, cost
    i, cost, at = read('<I2I8', requests, at)
    local fits = floor(floor((capacity[i] - level[i]) / unit[i]) / cost)
    if granted > fits then granted = fits end
  end
  if granted > 0 then
    at = from
    for _ = 1, keys do
      local i, cost
      i, cost, at = read('<I2I8', requests, at)
      level[i] = level[i] + granted * cost * unit[i]
      changed[i] = true
    end
  end
end

for i, key in ipairs(KEYS) do
  if changed[i] then
    local left = ttl[i]()
    if not here then left = left + 60000000 end
    local state
    if previous[i] then
      state = pack('<I8I4I4', first[i], level[i], previous[i])
    else
      state = pack('<I8I8', first[i], level[i])
    end
    call('SET', key, state .. slices[i], 'PX', string.format('%d', left / 1000 + 1))
  end
end
return pack('<I8', now) .. table.concat(states)
