-- Removes a frozen generation that is in SQL.
--
-- KEYS[1]  the frozen generation; KEYS[2] the list of the frozen ones.
-- ARGV[1]  its id.
-- Example  EVALSHA <sha> 2 forebay:buffer:{projects.0}:frozen:0193… forebay:buffer:{projects.0}:frozen 0193…
-- Reply    1 if it was there, else 0.

assert(#KEYS == 2 and #ARGV == 1, 'buffer_ack: two keys and one argument')
local there = 0
for _, entry in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
  if string.sub(entry, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
    redis.call('LREM', KEYS[2], 1, entry)
    there = 1
  end
end
redis.call('UNLINK', KEYS[1])
return there
