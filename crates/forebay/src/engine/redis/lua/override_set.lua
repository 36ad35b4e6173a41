-- Lets a key of a limit be allowed something else, or removes that.
--
-- KEYS     1 the overrides of the limit. 2 the marks of all limits.
-- ARGV     1 the limit. 2 the key of a caller. 3 what it is allowed, as text; empty: what all are.
--          4 the new mark (UUID, text). 5 how many overrides there may be.
-- Example  EVALSHA <sha> 2 forebay:{overrides}:limit:hits forebay:{overrides}:marks hits 42 100/1m <uuid> 10000
-- Reply    1; 0: there was nothing to remove; -1: there are as many as there may be.

assert(#KEYS == 2 and #ARGV == 5, 'override_set: two keys and five arguments')
local overrides, marks, key, instead = KEYS[1], KEYS[2], ARGV[2], ARGV[3]

if instead == '' then
  if write('HDEL', overrides, key) == 0 then return 0 end
else
  if call('HEXISTS', overrides, key) == 0 and call('HLEN', overrides) >= tonumber(ARGV[5]) then return -1 end
  write('HSET', overrides, key, instead)
end
write('HSET', marks, ARGV[1], ARGV[4])
return 1
