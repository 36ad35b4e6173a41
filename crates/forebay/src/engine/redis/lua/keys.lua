-- Before the text of a script that takes single keys: its keys, which are all of one slot, and their states.
--
-- KEYS     one or more.
-- ARGV[1]  what the script says of `arg`.
-- Example  EVALSHA <sha> 1 forebay:window:hits:60s:{42} <-1, 60000000, 0, 20>

assert(#KEYS >= 1 and #ARGV == 1, 'take: one or more keys and one argument')
local keys, arg = KEYS, ARGV[1]
local states = call('MGET', unpack(keys))
