-- Makes a resharder the only one, or tells who is.
--
-- KEYS[1]  the mark of the resharder that is at work.
-- ARGV[1]  the mark of this one. ARGV[2] for how long it holds, in ms. ARGV[3] '1': whoever is there.
-- Example  EVALSHA <sha> 1 forebay:cluster:reshard 0192… 30000 ''
-- Reply    the mark that is there.

assert(#KEYS == 1 and #ARGV == 3, 'reshard_claim: one key and three arguments')
local there = call('GET', KEYS[1])
if there and there ~= ARGV[1] and ARGV[3] ~= '1' then return there end
write('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
