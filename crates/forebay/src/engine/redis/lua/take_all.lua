-- Charges requests over several keys, of any rules: each request whole or not at all.
--
-- KEYS     one or more, each once; they hold what the files of the kinds say, see kinds.lua. Before them,
--          with ARGV[3], the token of the request: its owner (16 bytes), and the reply when it was charged.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock); the number of rules
--          (u2); each rule: the number of its kind (u1), and what the file of the kind says; then for each key the place of its
--          rule among them, from 1 (u2).
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
local now, here, pos = read_time(rules)

local count, rules_read, kinds_read = nil, {}, {}
count, pos = read('<I2', rules, pos)
for i = 1, count do kinds_read[i], rules_read[i], pos = read_rule(rules, pos, now) end
if other_table then return other_table end

-- Each key as (first, level, capacity): `first` is the window or the tick, `level` what is in use of `capacity`. `known`: a window
-- that is there.
local kind_of, rule_of, first, level, capacity, changed, previous, known = {}, {}, {}, {}, {}, {}, {}, {}
local allotments = {}
local states = call('MGET', unpack(KEYS))
local cold, any_cold = {}, false
for i, state in ipairs(states) do
  local strange = state and (#state < 16 or (#state - 16) % 40 ~= 0)
  if not state or strange then
    cold[i], any_cold = not state, true
    state = EMPTY
    states[i] = EMPTY
  end
  local low, high = string.byte(rules, pos, pos + 1)
  local place = low + 256 * high
  pos = pos + 2
  local kind, rule = kinds_read[place], rules_read[place]
  kind_of[i], rule_of[i] = kind, rule
  first[i], level[i], capacity[i], allotments[i], previous[i] = kind.read(rule, state)
  known[i] = kind.in_place and allotments[i]
  -- The caller knows nothing of allotments: it gets the level with what does not leak.
  if #state > 16 then states[i] = pack_state(first[i], level[i], previous[i]) end
  -- What holds something else takes nothing, so that no request over it is granted.
  if strange then states[i], capacity[i], level[i] = foreign(KEYS[i]), -1, 0 end
end

-- How long key i has to live.
local function ttl(i)
  return left_until(kind_of[i].expires(rule_of[i], first[i], level[i], allotments[i] or ''), now, here)
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
      local fits = floor(floor((capacity[i] - level[i]) / rule_of[i].unit) / cost)
      if granted > fits then granted = fits end
    end
    if granted > 0 then
      for k = 1, keys do
        local i = places[k]
        level[i] = level[i] + granted * costs[k] * rule_of[i].unit
        changed[i] = true
      end
    end
  end

  -- What was not there goes first: where it turns out that something of another type is, nothing else is written, what is is
  -- taken back, and all are charged again without that key.
  begun = true
  for i, key in ipairs(any_cold and KEYS or {}) do
    if changed[i] and cold[i] then
      local other = foreign(key, pack_state(first[i], level[i], previous[i]), ttl(i))
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
      write('SET', key, pack_state(first[i], level[i], previous[i]) .. (allotments[i] or ''), 'PX', ttl(i))
    end
  end
end
local reply = pack('<I8', now) .. table.concat(states)
if token and next(changed) then write('SET', token, owner .. reply, 'PX', '93600000') end
return reply
