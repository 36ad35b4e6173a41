-- Reads keys with their values, as many as come to a number of bytes.
--
-- KEYS     one or more.
-- ARGV[1]  for each key a letter: 'd' its value as DUMP answers it; 'm' of a sorted set the members; 'l' only the length. Of a
--          string it is the string with each of them.
-- ARGV[2]  the bytes: no further key is read when the values have come to them. ARGV[3] the longest string that is answered.
-- Example  EVAL <text> 2 user:1 forebay:leases:jobs:{42} dm 1048576 536870912
-- Reply    for each key that was read, from the first on: nothing, as it is not there; or its type, its length, the ms that it
--          lives (-1: for ever), and its value: a string; of members each with its score; nil where it was not asked for.

assert(#KEYS >= 1 and #ARGV == 3, 'transfer_read: one or more keys and three arguments')
local forms, left, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local LENGTHS =
  { string = 'STRLEN', list = 'LLEN', set = 'SCARD', zset = 'ZCARD', hash = 'HLEN', stream = 'XLEN' }

local replies = {}
for i, key in ipairs(KEYS) do
  local kind, form, value = call('TYPE', key).ok, string.sub(forms, i, i), false
  if kind == 'none' then
    replies[i] = {}
  else
    -- A type of a module has no length.
    local length = LENGTHS[kind] and call(LENGTHS[kind], key) or 0
    if kind == 'string' then
      if length <= longest then value = call('GET', key) end
    elseif form == 'm' and kind == 'zset' then
      value = call('ZRANGE', key, '0', '-1', 'WITHSCORES')
      left = left - 24 * #value
    elseif form ~= 'l' then
      value = call('DUMP', key)
    end
    -- Time stands still in a script: what was there for TYPE is there to the end.
    replies[i] = { kind, length, call('PTTL', key), value }
    if type(value) == 'string' then left = left - #value end
    if left <= 0 then break end
  end
end
return replies
