-- Ends an attempt at a request that is carried out once, if it still is its owner's.
--
-- KEYS     as in once_begin.lua.
-- ARGV     [1] the owner; [2] the state from now on, 'o', 'd' or 'e', or '-': forget the request; [3] the text; [4] how many
--          bytes there are more, beside those of the text; of a forgotten request: less.
-- Example  EVALSHA <sha> 2 forebay:once:{abc} forebay:once-bytes 018f… e '202 …' 320
-- Reply    1; 0: somebody else has taken it over, or it is not there any more.

assert(#KEYS == 2 and #ARGV == 4, 'once_end: two keys and four arguments')
local owner, state, text, more = unpack(ARGV)
local value = call('GET', KEYS[1])
if not value then return 0 end
local print, who, old, began, known, before =
  string.match(value, '^(%x+) (%x+) (%l) %d+ (%d+) (%S*)\n(.*)$')
if who ~= owner then return 0 end
-- The reply to this very call was lost.
if old == state then return 1 end
if old ~= 'f' and old ~= 'a' and old ~= 't' then return 0 end
if state == '-' then
  write('DEL', KEYS[1])
else
  local line = table.concat({ print, owner, state, '0', began, known }, ' ')
  write('SET', KEYS[1], line .. '\n' .. text, 'KEEPTTL')
  more = more + #text - #before
end
if call('HEXISTS', KEYS[2], began) == 1 then
  write('HINCRBY', KEYS[2], began, string.format('%.0f', more))
end
return 1
