-- Adds the points of a generation that a stand-in hands over to the chunks of their partition, once.
--
-- KEYS[1]  the marks: a set of the generations that were received. KEYS[2] the open buckets, as in series_add.lua. Then lists of keys,
--          lists of the largest keys, and chunks, each once, as in chunks.lua.
-- ARGV[1]  the id of the generation, 16 bytes. ARGV[2] how long the marks are kept from now, in ms. Then an argument for each
--          chunk, as in chunks.lua.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3}:received:20719 forebay:series:{hits.3}:open forebay:series:{hits.3}:10:497222:42
--          0192… 2592000000 '90000000 360 0 2 0 0 12 1 0 13 5 0'
-- Reply    'added', or 'known': it was received before, and nothing was added.

local before = #KEYS - (#ARGV - 2)
assert(#KEYS > 2 and #ARGV > 2 and before >= 2, 'series_receive: three keys or more, and an argument for each chunk')
local marks, generation = KEYS[1], ARGV[1]
if call('SISMEMBER', marks, generation) == 1 then
  -- It is offered again, and may be once more.
  write('PEXPIRE', marks, ARGV[2])
  return 'known'
end
local chunks = read_chunks(KEYS[2], before, 2)
-- First the mark: what fails after it is missing, and is never added twice.
write('SADD', marks, generation)
write('PEXPIRE', marks, ARGV[2])
wrote = false
local ok, problem = pcall(count, chunks)
if not ok then
  if not wrote then
    write('SREM', marks, generation)
    wrote = false
  end
  error(problem, 0)
end
return 'added'
