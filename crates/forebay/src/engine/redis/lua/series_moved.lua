-- Forgets a move whose target has all of it.
--
-- KEYS[1]  the moves, as in series_claim.lua; then what the move has of open buckets, and its chunks.
-- ARGV[1]  the id of the move.
-- Example  EVALSHA <sha> 2 forebay:series:{hits.3}:moves forebay:series:{hits.3}:moved:0192… 0192…
-- Reply    how many keys there were.

assert(#KEYS >= 2 and #ARGV == 1, 'series_moved: two keys or more, and one argument')
local gone = write('UNLINK', unpack(KEYS, 2))
write('HDEL', KEYS[1], ARGV[1])
return gone
