-- Forgets a key of a series: its counts in open buckets, and chunks.
--
-- KEYS[1]  the open buckets, as in series_add.lua; then as many of them as ARGV has starts; then lists of keys, and chunks, as in
--          chunks.lua.
-- ARGV[1]  the key of the series. ARGV[2] the number of lists. Then the starts of the open buckets that are known.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3}:open forebay:series:{hits.3}:open:1790000010 forebay:series:{hits.3}:10:497222:42
--          42 0 1790000010
-- Reply    'deleted'. Or a list with the starts of all open buckets: some were not known, and nothing was done.

local lists = tonumber(ARGV[2])
assert(#KEYS >= 1 and #ARGV >= 2 and #KEYS >= #ARGV - 1 + lists, 'series_delete: a key for each start and list, and one before them')
local open, key, named = KEYS[1], ARGV[1], { unpack(ARGV, 3) }
local unknown = unknown_buckets(open, named)
if unknown then return unknown end
take_out(open, key, open_counts(key, named, 1))
local before = 1 + #named
for i = before + 1, before + lists do write('ZREM', KEYS[i], key) end
if #KEYS > before + lists then write('UNLINK', unpack(KEYS, before + lists + 1)) end
return 'deleted'
