-- Sets the counts of a key of a series aside, for a move to another key: from here on they belong to the move alone.
--
-- KEYS[1]  the open buckets, as in series_add.lua. KEYS[2] the moves, a hash: id → the key that is moved and its target, see
--          series_move.rs. KEYS[3] what the move has of open buckets, a hash: start in seconds → count. Then as many open
--          buckets as ARGV has starts; then lists of keys, as in chunks.lua; then chunks; then, in the same order, the names
--          that those get.
-- ARGV[1]  the key. ARGV[2] the id of the move. ARGV[3] its text. ARGV[4] how long it is kept at most, in ms. ARGV[5] the number
--          of lists. ARGV[6] the number of chunks; then of each how many slots it has. Then the starts of the open buckets that
--          are known.
-- Example  EVALSHA <sha> 5 forebay:series:{hits.3}:open forebay:series:{hits.3}:moves forebay:series:{hits.3}:moved:0192…
--          forebay:series:{hits.3}:10:497222:42 forebay:series:{hits.3}:moved:0192…:10:497222 42 0192… '2:4243' 63072300000 0 1
--          360
-- Reply    'moved'; 'known': this move has done so before; 'nothing': the key has no count, and nothing was done. Or a list with
--          the starts of all open buckets: some were not known, and nothing was done.

local lists, chunks = tonumber(ARGV[5]), tonumber(ARGV[6])
local before = 6 + chunks
local buckets = #ARGV - before
assert(#KEYS == 3 + buckets + lists + 2 * chunks, 'series_claim: two names of each chunk, and a key for each list and start')
local open, moves, moved, key, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
if call('HEXISTS', moves, id) == 1 then return 'known' end

local named = { unpack(ARGV, before + 1) }
local unknown = unknown_buckets(open, named)
if unknown then return unknown end

-- Keys of somebody else are found out here: RENAME takes a key of any type.
local first, there = 3 + buckets + lists, {}
local texts = chunks > 0 and call('MGET', unpack(KEYS, first + 1, first + chunks)) or {}
for i, text in ipairs(texts) do
  if text then
    if not is_chunk(text, tonumber(ARGV[6 + i])) then refuse_foreign(first + i) end
    there[#there + 1] = i
  elseif call('TYPE', KEYS[first + i]).ok ~= 'none' then
    refuse_foreign(first + i)
  end
end
local counts = open_counts(key, named, 3)
if not there[1] and not counts[1] then return 'nothing' end

write('HSET', moves, id, ARGV[3])
write('PEXPIRE', moves, ARGV[4])
for _, i in ipairs(there) do write('RENAME', KEYS[first + i], KEYS[first + chunks + i]) end
for _, count in ipairs(counts) do write('HSET', moved, count.start, count.n) end
if counts[1] then write('PEXPIRE', moved, ARGV[4]) end
take_out(open, key, counts)
for i = 4 + buckets, 3 + buckets + lists do write('ZREM', KEYS[i], key) end
return 'moved'
