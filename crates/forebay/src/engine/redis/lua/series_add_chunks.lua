
-- Adds points to the chunks of a series, once: where its open buckets have too many keys.
--
-- KEYS[1]  the guard. KEYS[2] the open buckets, as in series_add.lua; then, if there are tokens, their set; then lists of keys, lists
--          of the largest keys, and chunks, each once, as in chunks.lua.
-- ARGV[1]  to [4] as in guard.lua, of one batch. ARGV[5] its tokens, as there; they say 0 for the row. Then an argument for each
--          chunk, as in chunks.lua.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3}:guard forebay:series:{hits.3}:open forebay:series:{hits.3}:10:497222:42
--          0192… 8c7f… 17 0 '' '90000000 360 0 2 0 0 12 1 0 13 5 0'
-- Reply    'applied', or 'met' and the rest as guard.lua.

local tokens = ARGV[5]
local set = tokens ~= '' and KEYS[3]
local before = #KEYS - (#ARGV - 5)
assert(#KEYS >= 3 and #ARGV > 5 and before >= (set and 3 or 2), 'series_add_chunks: three keys or more, and an argument for each chunk')
local reply, last_at = known(KEYS[1], ARGV[1], ARGV[3], ARGV[4])
if not reply and set then reply = met(set, tokens) end
if reply then return reply end

local chunks = read_chunks(KEYS[2], before, 5)
record(KEYS[1], ARGV[1], ARGV[3], last_at, '')
with_tokens(set, tokens, count, chunks)
return 'applied'
