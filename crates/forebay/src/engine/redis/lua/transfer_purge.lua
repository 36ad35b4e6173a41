-- Removes keys, if a key holds one of some texts.
--
-- KEYS[1]  the key that decides. The others: the keys to remove; it may be among them.
-- ARGV     one or more texts.
-- Example  EVAL <text> 2 forebay:cluster:fence user:1 7 7+
-- Reply    how many were there; or the text that is there instead ('': none): nothing was removed.

assert(#KEYS >= 2 and #ARGV >= 1, 'transfer_purge: two or more keys and one or more arguments')
local there = call('GET', KEYS[1]) or ''
for _, text in ipairs(ARGV) do
  if text == there then return write('UNLINK', unpack(KEYS, 2)) end
end
return there
