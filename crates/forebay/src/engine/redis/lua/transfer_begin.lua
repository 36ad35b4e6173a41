-- Lets a resharder write keys to this host, if it goes by the table that the host has.
--
-- KEYS[1]  the mark of the resharder that moves keys to this host; KEYS[2] the placement of keys.
-- ARGV[1]  the caller's mark. ARGV[2] the end of its placement.
-- Example  EVAL <text> 2 forebay:cluster:import forebay:cluster:placement <mark> 'check 0123456789abcdef'
-- Reply    1, or 0: nothing was done, for the host has another placement.

assert(#KEYS == 2 and #ARGV == 2, 'transfer_begin: two keys and two arguments')
if call('GETRANGE', KEYS[2], -#ARGV[2], -1) ~= ARGV[2] then return 0 end
write('SET', KEYS[1], ARGV[1])
return 1
