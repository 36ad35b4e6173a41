-- Removes a frozen generation that is in SQL.
--
-- KEYS[1]  the frozen generation; KEYS[2] the list of the frozen ones.
-- ARGV[1]  its id. ARGV[2] the time of the last write that SQL has of it, in µs; 0 if that is not known.
-- Example  EVALSHA <sha> 2 forebay:buffer:{projects.0}:frozen:0193… forebay:buffer:{projects.0}:frozen 0193… 1790000000000000
-- Reply    1 if it was there, else 0. It stays if it was written to later: this server went back in time.

assert(#KEYS == 2 and #ARGV == 2, 'buffer_ack: two keys and two arguments')
local last = redis.call('HGET', KEYS[1], '#last')
if last and tonumber(last) > tonumber(ARGV[2]) then return 0 end
local there = 0
for _, entry in ipairs(call('LRANGE', KEYS[2], 0, -1)) do
  if string.sub(entry, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
    write('LREM', KEYS[2], 1, entry)
    there = 1
  end
end
write('UNLINK', KEYS[1])
return there
