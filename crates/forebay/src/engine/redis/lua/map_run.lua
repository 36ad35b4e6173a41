-- Runs plain commands on callers' keys, each with its own answer.
--
-- KEYS     the key of each command.
-- ARGV     1: a letter for each command, see `verbs`; then the operand of each command that has one.
-- Example  EVALSHA <sha> 2 user:1 user:2 gi 5
-- Reply    the reply to each, or its error. An integer that Lua cannot hold is answered as text.

local verbs = {
  [string.byte('g')] = { 'GET', false },
  [string.byte('s')] = { 'SET', true },
  [string.byte('i')] = { 'INCRBY', true },
  [string.byte('e')] = { 'PEXPIRE', true },
  [string.byte('d')] = { 'UNLINK', false },
}
local run, byte, letters = redis.pcall, string.byte, ARGV[1]
assert(#KEYS >= 1 and letters and #letters == #KEYS, 'map_run: one or more keys and a letter for each')
local replies, operand = {}, 2
for i, key in ipairs(KEYS) do
  local verb, reply = verbs[byte(letters, i)]
  if verb[2] then
    reply = run(verb[1], key, ARGV[operand])
    operand = operand + 1
    if type(reply) == 'number' and (reply >= 9007199254740992 or reply <= -9007199254740992) then reply = run('GET', key) end
  else
    reply = run(verb[1], key)
  end
  replies[i] = reply
end
return replies
