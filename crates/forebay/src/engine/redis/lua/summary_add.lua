-- Merges observations into summaries of a series, once.
--
-- KEYS[1]  the guard; then, if there are tokens, their set; then lists of keys, as in chunks.lua; then summaries, each once.
-- ARGV[1]  to [4] as in guard.lua, of one batch. ARGV[5] its tokens, as there; they say 0 for the row. Then for each summary two:
--          how long it lives in ms, should this write begin it, the place in KEYS of the list of its keys (0: it is not of the
--          coarsest resolution), how long that lives, the bytes of the key of the series, with which the summary's name ends; and
--          what is merged into it, as the file of the kind says.
-- Example  EVALSHA <sha> 2 forebay:series:{visitors.3}:guard forebay:series:{visitors.3}:distinct:3600:497222:home
--          0192… 8c7f… 17 0 '' '90000000 0 0 4' '\0\5ada:1'
-- Reply    'applied', or 'met' and the rest as guard.lua.

assert(#KEYS >= 2 and #ARGV >= 7 and #ARGV % 2 == 1, 'summary_add: two keys or more, and two arguments for each summary')
local tokens = ARGV[5]
local set = tokens ~= '' and KEYS[2]
local count = (#ARGV - 5) / 2
local before = #KEYS - count
local reply, last_at = known(KEYS[1], ARGV[1], ARGV[3], ARGV[4])
if not reply and set then reply = met(set, tokens) end
if reply then return reply end

-- What is of somebody else is found out before anything is written.
for i = set and 3 or 2, before do call('ZCARD', KEYS[i]) end
local is_new = {}
for i = 1, count do
  local kind = call('TYPE', KEYS[before + i]).ok
  if kind == 'none' then
    is_new[i] = true
  elseif kind ~= TYPE then
    error('WRONGTYPE a summary of this kind is a ' .. TYPE, 0)
  elseif not is_ours(KEYS[before + i]) then
    refuse_foreign(before + i)
  end
end

local function list_key(list, key, ttl)
  if write('ZADD', list, '0', key) == 1 and call('ZCARD', list) == 1 then write('PEXPIRE', list, ttl) end
end

local function merge_all()
  for i = 1, count do
    local key, about = KEYS[before + i], ARGV[4 + 2 * i]
    local ttl, list, list_ttl, length = string.match(about, '^(%d+) (%d+) (%d+) (%d+)$')
    local has_new = merge(key, ARGV[5 + 2 * i], is_new[i])
    if is_new[i] then write('PEXPIRE', key, ttl) end
    if has_new and list ~= '0' then list_key(KEYS[tonumber(list)], string.sub(key, -length), list_ttl) end
  end
end
record(KEYS[1], ARGV[1], ARGV[3], last_at, '')
with_tokens(set, tokens, merge_all)
return 'applied'
