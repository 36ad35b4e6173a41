-- Gives costs back to keys, never below empty.
--
-- KEYS     each as the file of the kind says, see kinds.lua; one, or with an owner any number, and before
--          them the token of the request whose charge it is, as take_all.lua has it.
-- ARGV     for each key, packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the cost
--          (u8), the window or tick that was charged, or -1 for whatever is there (i8), the number of the kind (u1), its rule. Of a
--          window that is over nothing comes back, of a bucket what has not leaked since. Then, with a
--          token, its owner, 16 bytes: if it is another's, or not there, nothing comes back; else it goes.
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, -1, 1, 60000000, 0, 20>
-- Reply    one string: the time that decided (u8), then the two integers as they were. With a token: 1, or 0 for nothing.

assert(#KEYS >= 1 and #ARGV >= 1, 'refund: one or more keys, and an argument for each')
local pack, read = struct.pack, struct.unpack

local function refund(place, arg)
  local key = KEYS[place]
  local now, here, pos = read_time(arg)
  local cost, charged
  cost, charged, pos = read('<I8i8', arg, pos)
  local state = call('GET', key)
  if state and #state < 16 then refuse_foreign(place) end
  local kind, rule = read_rule(arg, pos, now)
  if other_table then return other_table end
  if not state then return pack('<I8', now) .. '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' end

  local first, level, _, allotments, previous = kind.read(rule, state)
  local before = state:sub(1, 16)
  -- The caller knows nothing of allotments: it gets the level with what does not leak.
  if #state > 16 then before = pack_state(first, level, previous) end
  local after, other = kind.refund(rule, first, level, previous, cost, charged)
  if after ~= level or other ~= previous then
    allotments = allotments or ''
    -- Kept as long as what was there before.
    local left = left_until(kind.expires(rule, first, level, allotments), now, here)
    write('SET', key, pack_state(first, after, other) .. allotments, 'PX', left)
  end
  return pack('<I8', now) .. before
end

if #ARGV == #KEYS and #KEYS == 1 then return refund(1, ARGV[1]) end
assert(#ARGV == #KEYS, 'refund: with a token an argument for each key, and the owner')
local kept = call('GET', KEYS[1])
if not kept or kept:sub(1, 16) ~= ARGV[#ARGV] then return 0 end
-- Nothing is changed before all rules are known to cover the time.
for i = 2, #KEYS do
  local arg, time = ARGV[i - 1], call('TIME')
  read_rule(arg, 25, time[1] * 1000000 + time[2])
end
if other_table then return other_table end
-- First: a charge that is not given back and has no token denies too much, and never too little.
write('DEL', KEYS[1])
for i = 2, #KEYS do refund(i, ARGV[i - 1]) end
return 1
