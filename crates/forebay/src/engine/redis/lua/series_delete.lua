-- Forgets chunks of a series.
--
-- KEYS     one or more chunks, as in chunks.lua.
-- ARGV     none.
-- Example  EVALSHA <sha> 1 forebay:series:{hits.3}:10:497222:42
-- Reply    how many there were.

assert(#KEYS >= 1 and #ARGV == 0, 'series_delete: one or more keys and no argument')
return write('UNLINK', unpack(KEYS))
