-- Runs plain commands on callers' keys, each with its own answer.
--
-- KEYS     the key of each command.
-- ARGV     for each command its name, how many further words it has, and these.
-- Example  EVALSHA <sha> 2 user:1 user:2 GET 0 INCRBY 1 5
-- Reply    the reply to each, or its error. An integer that Lua cannot hold is answered as text.

assert(#KEYS >= 1 and #ARGV >= 2 * #KEYS, 'map_run: one or more keys and two arguments or more for each')
local replies, at = {}, 1
for i, key in ipairs(KEYS) do
  local name, words = ARGV[at], tonumber(ARGV[at + 1])
  local reply
  if words == 0 then
    reply = redis.pcall(name, key)
  else
    reply = redis.pcall(name, key, unpack(ARGV, at + 2, at + 1 + words))
  end
  if type(reply) == 'number' and math.abs(reply) >= 9007199254740992 then reply = call('GET', key) end
  replies[i] = reply
  at = at + 2 + words
end
return replies
