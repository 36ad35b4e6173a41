-- Forgets a key of a series: its counts in open buckets, and chunks.
--
-- KEYS[1]  the open buckets, as in series_add.lua; then as many of them as ARGV has starts; then lists of keys, and chunks, as in
--          chunks.lua.
-- ARGV[1]  the key of the series. ARGV[2] the number of lists. Then the starts of the open buckets that are known.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3}:open forebay:series:{hits.3}:open:1790000010 forebay:series:{hits.3}:10:497222:42
--          42 0 1790000010
-- Reply    An empty list. Or the starts of all open buckets: some were not known, and nothing was done.

local lists = tonumber(ARGV[2])
assert(#KEYS >= 1 and #ARGV >= 2 and #KEYS >= #ARGV - 1 + lists, 'series_delete: a key for each start and list, and one before them')
local known, starts = {}, {}
for i = 3, #ARGV do known[ARGV[i]] = true end
local is_known = true
local open = call('HGETALL', KEYS[1])
for i = 1, #open, 2 do
  if open[i] ~= '#seals' then
    starts[#starts + 1] = open[i]
    is_known = is_known and known[open[i]]
  end
end
if not is_known then return starts end
local counted = #starts > 0
for i = 3, #ARGV do
  local bucket = KEYS[i - 1]
  if write('HDEL', bucket, ARGV[1]) == 1 and call('HLEN', bucket) <= 1 then
    write('UNLINK', bucket)
    write('HDEL', KEYS[1], ARGV[i])
  end
end
-- A reader between the two would miss a part.
if counted then write('HINCRBY', KEYS[1], '#seals', '1') end
local before = #ARGV - 1
for i = before + 1, before + lists do write('ZREM', KEYS[i], ARGV[1]) end
if #KEYS > before + lists then write('UNLINK', unpack(KEYS, before + lists + 1)) end
return {}
