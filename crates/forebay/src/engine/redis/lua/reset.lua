-- Forgets what was taken of one key, but for what is allotted of it.
--
-- KEYS[1]  as the file of the kind says, see kinds.lua.
-- ARGV[1]  packed, little endian: the time in µs since 1970 (i8; negative: this server's clock), the number of the kind (u1), its
--          rule.
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 1, 60000000, 0, 20>
-- Reply    {how much of it is allotted, until when at most in µs since 1970}: so much is still charged.

assert(#KEYS == 1 and #ARGV == 1, 'reset: one key and one argument')
local read = struct.unpack
local key, arg = KEYS[1], ARGV[1]
local state = redis.pcall('GET', key)
local other = type(state) == 'table'
if other and not string.find(state.err, 'WRONGTYPE', 1, true) then error(state.err, 0) end
local now, here, pos = read_time(arg)
local kind, rule = read_rule(arg, pos, now)
if other_table then return other_table end
local first, level, allotments, previous, _
-- What is not of Forebay goes as a whole.
if state and not other and #state > 16 and (#state - 16) % 40 == 0 then
  first, level, _, allotments, previous = kind.read(rule, state)
end
allotments = allotments or ''
local amount = 0
for at = 1, #allotments, 40 do amount = amount + read('<I8', allotments, at + 24) end
if amount == 0 then
  write('DEL', key)
  return { 0, 0 }
end
level = math.min(level, amount * rule.unit)
local left = left_until(kind.expires(rule, first, level, allotments), now, here)
write('SET', key, pack_state(first, level, previous and 0) .. allotments, 'PX', left)
return { amount, (read('<I8', allotments, #allotments - 7)) }
