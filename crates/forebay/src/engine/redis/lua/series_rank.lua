-- Lets a partition of a series have lists of its largest keys, as in ranks.lua, unless it has them.
--
-- KEYS[1]  the open buckets, as in series_add.lua; then lists of keys, as in chunks.lua.
-- ARGV[1]  how long the open buckets are kept at most, in ms. ARGV[2] how far points may be ahead of this server's time, in s. Then for
--          each kind of bucket its step in seconds, and how long a list of it is kept, in ms.
-- Example  EVALSHA <sha> 2 forebay:series:{hits.3}:open forebay:series:{hits.3}:keys:56 63072300000 300 86400 63158400000
-- Reply    1.

assert(#KEYS >= 1 and #ARGV >= 4, 'series_rank: a key and four arguments or more')
local open = KEYS[1]
-- Before the first chunk nothing can be missing.
local since = 0
for i = 2, #KEYS do
  if call('ZCARD', KEYS[i]) > 0 then since = math.floor(server_time() / 1000000) + ARGV[2] + 1 end
end
local is_new = call('EXISTS', open) == 0
for i = 3, #ARGV, 2 do
  local field = '#top:' .. ARGV[i]
  if call('HEXISTS', open, field) == 0 then write('HSET', open, field, string.format('%.0f %s', since, ARGV[i + 1])) end
end
if is_new then write('PEXPIRE', open, ARGV[1]) end
return 1
