-- In place of keys.lua, for keys of several slots of one node of a Redis Cluster: a node that refuses the keys of one slot, because it
-- moves, answers the others.
--
-- KEYS     the first of the keys, so that a node that has not its slot answers MOVED, and has done nothing.
-- ARGV     the keys; those of one slot stand together. Behind them what the script says of `arg`, then the number of keys of
--          each slot (u2 each).
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{aaaa}:42 forebay:window:hits:60s:{aaaa}:42 forebay:window:hits:60s:{baab}:43
--          <-1, 60000000, 0, 20> <1, 1>
--
-- In place of the state of a key that is refused there are 16 bytes 255. To every kind of rate that is a later window, or a later
-- tick, of which everything is used: nothing is charged. No key of its slot has been written, since reading comes first.

assert(#KEYS == 1 and #ARGV >= 3, 'take: one key, and keys and two arguments')
local keys, arg, sizes = ARGV, ARGV[#ARGV - 1], ARGV[#ARGV]
local REFUSED = string.rep('\255', 16)
local states, last = {}, 0
for at = 1, #sizes, 2 do
  local low, high = string.byte(sizes, at, at + 1)
  local first = last + 1
  last = last + low + 256 * high
  local some = redis.pcall('MGET', unpack(keys, first, last))
  for i = first, last do states[i] = some.err and REFUSED or some[i - first + 1] end
end
