-- Adds points to a stand-in of a partition of a series, once.
--
-- KEYS[1]  the guard; KEYS[2] the live generation; KEYS[3] the list of the frozen ones, oldest first: see stand_in.lua.
-- ARGV[1]  to [4] as in guard.lua, of one batch. ARGV[5] the id of a generation that this write may begin. ARGV[6] how many
--          buckets a generation has at most. ARGV[7] how long what is written is kept, in ms. Then for each point the start of
--          its bucket in seconds, ':' and its key; and what to add (1 to 2^63 - 1). A count stops at 2^63 - 1.
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3~1}:guard forebay:series:{hits.3~1}:live forebay:series:{hits.3~1}:frozen
--          0192… 8c7f… 17 0 0192… 125 63072000000 1790000000:42 5
-- Reply    'applied', or as guard.lua.

assert(#KEYS == 3 and #ARGV > 8 and #ARGV % 2 == 1, 'stand_in_add: three keys, seven arguments, and pairs')
local live, frozen = KEYS[2], KEYS[3]
local reply, last_at = known(KEYS[1], ARGV[1], ARGV[3], ARGV[4])
if reply then return reply end
local began = call('HMGET', live, '#gen', '#replid')
-- Both are of the right type, or nothing is written.
call('LLEN', frozen)
record(KEYS[1], ARGV[1], ARGV[3], last_at, '')
if began[1] then
  -- A server that went back in time may have handed this generation over with more points than it has now. Then its id says so,
  -- and it must not gain others. One that does not tell its id begins a generation with each batch.
  local full = call('HLEN', live) - 3 + (#ARGV - 7) / 2 > tonumber(ARGV[6])
  if full or replid == '' or began[2] ~= replid then
    freeze(live, frozen)
    began = {}
  end
end
if not began[1] then write('HSET', live, '#gen', ARGV[5], '#replid', replid) end
write('HSET', live, '#ttl', ARGV[7])
for i = 8, #ARGV, 2 do
  local ok, problem = pcall(write, 'HINCRBY', live, ARGV[i], ARGV[i + 1])
  if not ok then
    local text = type(problem) == 'table' and problem.err or problem
    if not string.find(text, 'overflow', 1, true) then error(problem, 0) end
    write('HSET', live, ARGV[i], '9223372036854775807')
  end
end
write('PEXPIRE', live, ARGV[7])
return 'applied'
