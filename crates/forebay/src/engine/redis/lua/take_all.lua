-- Charges requests over several keys, of any rules: each request whole or not at all.
--
-- KEYS     one or more, each once; they hold what take_window.lua, take_tokens.lua and take_sliding.lua say. Before them,
--          with ARGV[3], the token of the request: its owner (16 bytes), and the reply when it was charged.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock); the number of rules
--          (u2); each rule: kind 1 (u1) and length, offset, limit of a fixed window (u8 each), kind 2 (u1)
--          and rate, period, burst, tick of a token bucket (u8 each), or kind 3 (u1) and length, limit, tick of a
--          sliding window (u8 each); then for each key the place of its rule among them, from 1 (u2).
-- ARGV[2]  packed: for each run of equal requests the number of requests (u4), the number of keys in each
--          (u2), and for each of these keys its place in KEYS, from 1 (u2), and the cost, at least 1 (u8).
-- ARGV[3]  optional: the owner, 16 bytes, of the only request. If its token is there, nothing is charged: the reply is the
--          first one, and the token is this owner's.
-- Example  EVALSHA <sha> 2 forebay:window:hits:60s:{42} forebay:window:all:60s:{*} <-1, 2, 1, …, 1, …, 1, 2>
--          <1, 2, 1, 1, 2, 1>
-- Reply    as take_window.lua.

local pack, read = struct.pack, struct.unpack
local owner = ARGV[3]
local token, KEYS = nil, KEYS
if owner then token, KEYS = KEYS[1], { unpack(KEYS, 2) } end
assert(#KEYS >= 1 and #ARGV <= 3, 'take_all: one or more keys and two or three arguments')
if token then
  local kept = call('GET', token)
  if kept then
    kept = string.sub(kept, 17)
    write('SET', token, owner .. kept, 'KEEPTTL')
    return kept
  end
end
local floor = math.floor
local rules, requests = ARGV[1], ARGV[2]
local now, pos = read('<i8', rules)
local here = now < 0
if here then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- What a rule says for all of its keys. Of a fixed window that is the index, and how long a new one lives.
local function time_to_live(left)
  -- Under the caller's clock a minute more.
  if not here then left = left + 60000000 end
  return string.format('%d', left / 1000 + 1)
end
local count, kinds = nil, {}
count, pos = read('<I2', rules, pos)
for i = 1, count do
  local rule = {}
  rule.kind, pos = read('<I1', rules, pos)
  if rule.kind == 1 then
    rule.length, rule.offset, rule.limit, pos = read('<I8I8I8', rules, pos)
    local index = now + rule.offset
    rule.index = (index - index % rule.length) / rule.length
    rule.ttl = time_to_live((rule.index + 2) * rule.length - rule.offset - now)
  elseif rule.kind == 3 then
    rule.length, rule.limit, rule.tick, pos = read('<I8I8I8', rules, pos)
  else
    rule.rate, rule.period, rule.burst, rule.tick, pos = read('<I8I8I8I8', rules, pos)
  end
  kinds[i] = rule
end

-- Each key as (first, level, unit, capacity): `first` is the window or the tick, `level` what is in use
-- of `capacity`, and one token weighs `unit`. A window is a bucket with unit 1 that nothing leaks from; of a
-- sliding one's capacity that is gone which the window `before` still takes. `known`: a fixed window that is there.
local rule_of, first, level, unit, capacity, changed, previous, known = {}, {}, {}, {}, {}, {}, {}, {}
local slices = {}
local EMPTY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
local states = call('MGET', unpack(KEYS))
local cold, any_cold = {}, false
for i, state in ipairs(states) do
  local strange = state and (#state < 16 or (#state - 16) % 40 ~= 0)
  if not state or strange then
    cold[i], any_cold = not state, true
    state = EMPTY
    states[i] = EMPTY
  elseif #state > 16 then
    slices[i], states[i] = state:sub(17), state:sub(1, 16)
  end
  local low, high = string.byte(rules, pos, pos + 1)
  local rule = kinds[low + 256 * high]
  pos = pos + 2
  local seen, before
  if rule.kind == 1 then
    seen, before = read('<I8I8', state)
    if seen < rule.index then
      seen, before, slices[i] = rule.index, 0, nil
    else
      known[i] = true
    end
    unit[i], capacity[i] = 1, rule.limit
  elseif rule.kind == 3 then
    local length, last = rule.length, nil
    seen, before, last, slices[i] = slide(state, (now - now % rule.tick) / rule.tick, length)
    previous[i] = last
    unit[i], capacity[i] = 1, rule.limit - math.ceil(last * (length - seen % length) / length)
  else
    seen, before, slices[i] = leak(state, (now - now % rule.tick) / rule.tick, rule.rate, rule.period, rule.tick)
    -- The caller knows nothing of slices: it gets the level with what does not leak.
    if #state > 16 then states[i] = pack('<I8I8', seen, before) end
    unit[i], capacity[i] = rule.period, rule.burst * rule.period
  end
  rule_of[i], first[i], level[i] = rule, seen, before
  -- What holds something else takes nothing, so that no request over it is granted.
  if strange then states[i], capacity[i], level[i] = foreign(KEYS[i]), -1, 0 end
end

-- How long key i has to live.
local function ttl(i)
  local rule, seen = rule_of[i], first[i]
  if rule.kind == 1 then
    if seen == rule.index then return rule.ttl end
    return time_to_live((seen + 2) * rule.length - rule.offset - now)
  elseif rule.kind == 3 then
    return time_to_live(((seen - seen % rule.length) + 3 * rule.length) * rule.tick - now)
  end
  local leaks = leaks_from(seen, slices[i], rule.tick)
  return time_to_live((leaks + math.ceil(level[i] / rule.rate) + rule.period) * rule.tick - now)
end

local levels = any_cold and { unpack(level) }
local begun = false
repeat
  local at, places, costs = 1, {}, {}
  while at <= #requests do
    local granted, keys
    granted, keys, at = read('<I4I2', requests, at)
    for k = 1, keys do
      local i, cost
      i, cost, at = read('<I2I8', requests, at)
      places[k], costs[k] = i, cost
      local fits = floor(floor((capacity[i] - level[i]) / unit[i]) / cost)
      if granted > fits then granted = fits end
    end
    if granted > 0 then
      for k = 1, keys do
        local i = places[k]
        level[i] = level[i] + granted * costs[k] * unit[i]
        changed[i] = true
      end
    end
  end

  -- What was not there goes first: where it turns out that something of another type is, nothing else is written, what is is
  -- taken back, and all are charged again without that key.
  begun = true
  for i, key in ipairs(any_cold and KEYS or {}) do
    if changed[i] and cold[i] then
      local form = previous[i] and '<I8I4I4' or '<I8I8'
      local other = foreign(key, pack(form, first[i], level[i], previous[i]), ttl(i))
      if other then
        for j = 1, i - 1 do
          if changed[j] and cold[j] then write('DEL', KEYS[j]) end
        end
        states[i], capacity[i], levels[i] = other, -1, 0
        level, changed, begun = { unpack(levels) }, {}, false
        break
      end
    end
  end
until begun

for i, key in ipairs(KEYS) do
  if changed[i] and not cold[i] then
    if known[i] and here then
      -- In place, which keeps the time to live: it is the same for the whole window.
      write('SETRANGE', key, '8', pack('<I8', level[i]))
    else
      local form = previous[i] and '<I8I4I4' or '<I8I8'
      write('SET', key, pack(form, first[i], level[i], previous[i]) .. (slices[i] or ''), 'PX', ttl(i))
    end
  end
end
local reply = pack('<I8', now) .. table.concat(states)
if token and next(changed) then write('SET', token, owner .. reply, 'PX', '93600000') end
return reply
