-- Forgets summaries of a key of a series.
--
-- KEYS     lists of keys, as in chunks.lua, then summaries.
-- ARGV[1]  the key of the series. ARGV[2] the number of lists.
-- Example  EVALSHA <sha> 2 forebay:series:{visitors.3}:keys:0 forebay:series:{visitors.3}:distinct:3600:497222:home home 1
-- Reply    'deleted'.

local lists = tonumber(ARGV[2])
assert(#KEYS >= 1 and #ARGV == 2 and #KEYS >= lists, 'summary_delete: lists and summaries, and two arguments')
for i = 1, lists do write('ZREM', KEYS[i], ARGV[1]) end
if #KEYS > lists then write('UNLINK', unpack(KEYS, lists + 1)) end
return 'deleted'
