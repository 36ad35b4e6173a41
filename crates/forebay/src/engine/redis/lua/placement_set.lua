-- Stores the placement of keys, unless a later one is there, and raises the fence.
--
-- KEYS[1]  the placement; KEYS[2] the fence, see fence.rs.
-- ARGV[1]  the text. ARGV[2] its epoch. ARGV[3] the fence as it is to be; empty: as it is.
-- Example  EVALSHA <sha> 2 forebay:cluster:placement forebay:cluster:fence 'forebay-slots 1…' 7 '7+'
-- Reply    1: this text is there. 0: nothing was done, for a later one is there, or another one of this epoch.

assert(#KEYS == 2 and #ARGV == 3, 'placement_set: two keys and three arguments')
local text, epoch, fence = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local head = call('GETRANGE', KEYS[1], 0, 63)
local stored = tonumber(string.match(head, '^[^\n]*\nepoch (%d+)\n')) or 0
if stored > epoch then return 0 end
if stored == epoch and call('GET', KEYS[1]) ~= text then return 0 end
if stored < epoch then write('SET', KEYS[1], text) end
local before = call('GET', KEYS[2]) or '0'
local was, is = tonumber(string.match(before, '^%d+')), tonumber(string.match(fence, '^%d+'))
-- Whoever raises a fence only does not end the tracking of a resharder.
if is and was < is and string.sub(before, -1) == '+' and string.sub(fence, -1) ~= '+' then fence = fence .. '+' end
if is and was <= is then write('SET', KEYS[2], fence) end
return 1
