-- Tries whether a script may use keys of two slots, of which it declares one: writes and reads each.
--
-- KEYS[1]  a string that is there for this alone.
-- ARGV[1]  another one, of another slot of the same node.
-- ARGV[2]  how long they are kept, in ms.
-- Example  EVALSHA <sha> 1 forebay:probe:{aaaa} forebay:probe:{baab} 10000
-- Reply    'ok', or an error: the first refusal.

assert(#KEYS == 1 and #ARGV == 2, 'probe_across: one key and two arguments')
for _, key in ipairs({ KEYS[1], ARGV[1] }) do
  write('SETRANGE', key, '0', 'x')
  write('PEXPIRE', key, ARGV[2])
  call('MGET', key)
end
return 'ok'
