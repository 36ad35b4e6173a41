-- Merges rows into the live generation of a partition, once.
--
-- KEYS[1]  the guard; KEYS[2] the live generation, a hash: '#gen' its id, '#replid' and '#shape' of who began
--          it, '#born' in µs, '#rows' how many; else the column's letter and the row's key → value as text.
-- ARGV[1]  to [3] as in guard.lua. ARGV[4] the replication id that the writer's connection met. ARGV[5] an id for
--          a generation, should this write begin it. ARGV[6] the shape: names, types and merges of the columns.
--          ARGV[7] a character for each column, in the order of their letters from 'A': 's' sum, '>' and '<' the
--          larger and the smaller number, 'x' and 'n' the larger and the smaller text, and a letter from 'A': whatever
--          came with the version in the column of that letter, if it won. Then for each row the number of its cells, and
--          for each cell its field and value; sums come first, then what goes by a version, which is in the same row.
-- Example  EVALSHA <sha> 2 forebay:buffer:{projects.0}:guard forebay:buffer:{projects.0}:live
--          0192… 17 0 8c7f… 0193… 'projects(id:Text,hits=Sum:Integer)' s 1 A42 1
-- Reply    {'applied', refused}: each row is in, whole, but for those named by place (from 0) and column letter,
--          '3A,7B'. {'stale', id}: nothing was done, for a generation is live that was begun under another
--          replication id, or in another shape; rotate it. Or as guard.lua.

assert(#KEYS == 2 and #ARGV >= 7, 'buffer_add: two keys and seven arguments or more')
local live, kinds = KEYS[2], ARGV[7]
local reply = known()
if reply then return reply end
local meta = call('HMGET', live, '#gen', '#replid', '#shape')
if meta[1] and (meta[2] ~= ARGV[4] or meta[3] ~= ARGV[6]) then return { 'stale', meta[1] } end
record()
if not meta[1] then
  call('HSET', live, '#gen', ARGV[5], '#replid', ARGV[4], '#shape', ARGV[6], '#born', now_text, '#rows', '0')
end

-- Integers as decimal text: a Lua number would round them beyond 2^53.
local function less_number(a, b)
  local a_minus, b_minus = string.byte(a) == 45, string.byte(b) == 45
  if a_minus ~= b_minus then return a_minus end
  if a_minus then a, b = b, a end
  if #a ~= #b then return #a < #b end
  for i = 1, #a do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return false
end

-- Byte by byte: Lua's `<` would ask the server's locale.
local function less_text(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function better(kind, new, old)
  if new == old then return false end
  if kind == '>' then return less_number(old, new) end
  if kind == '<' then return less_number(new, old) end
  if kind == 'x' then return less_text(old, new) end
  return less_text(new, old)
end

local function kind_of(field)
  local column = string.byte(field) - 64
  return string.sub(kinds, column, column)
end

-- Adds the sums of a row, all of them or none; returns the letter of the one that does not fit, and whether any
-- may not have been there.
local function add_sums(at, sums)
  local before
  if sums > 1 then
    local fields = {}
    for i = 1, sums do fields[i] = ARGV[at + 2 * i - 2] end
    before = call('HMGET', live, unpack(fields))
  end
  local fresh = false
  for i = 1, sums do
    local field, value = ARGV[at + 2 * i - 2], ARGV[at + 2 * i - 1]
    local sum = redis.pcall('HINCRBY', live, field, value)
    if type(sum) == 'table' then
      for j = 1, i - 1 do
        local undo = ARGV[at + 2 * j - 2]
        if before[j] then call('HSET', live, undo, before[j]) else call('HDEL', live, undo) end
      end
      return string.sub(field, 1, 1), false
    end
    fresh = fresh or sum == tonumber(value)
  end
  return nil, fresh
end

-- Whether the row of a field has another column than its `cells` given ones.
local function has_more(at, cells)
  if cells == #kinds then return false end
  local row, given, fields = string.sub(ARGV[at], 2), {}, {}
  for i = 0, cells - 1 do given[string.byte(ARGV[at + 2 * i])] = true end
  for column = 65, 64 + #kinds do
    if not given[column] then fields[#fields + 1] = string.char(column) .. row end
  end
  for _, value in ipairs(call('HMGET', live, unpack(fields))) do
    if value then return true end
  end
  return false
end

-- Whether a cell of the row at `at` replaces `old`, what is there of it; sums never get here.
local function wins(at, cells, i, old)
  local kind = kind_of(ARGV[at + 2 * i])
  local version = string.byte(kind)
  if version < 65 or version > 96 then return not old or better(kind, ARGV[at + 2 * i + 1], old) end
  for j = i + 1, cells - 1 do
    local field = ARGV[at + 2 * j]
    if string.byte(field) == version then
      local before = call('HGET', live, field)
      return not before or better(kind_of(field), ARGV[at + 2 * j + 1], before)
    end
  end
end

local fields = call('HLEN', live)
local refused, born = {}, 0
local at, place = 8, 0
while at <= #ARGV do
  local cells = tonumber(ARGV[at])
  at = at + 1
  local sums = 0
  while sums < cells and kind_of(ARGV[at + 2 * sums]) == 's' do sums = sums + 1 end
  local problem, fresh = add_sums(at, sums)
  if problem then
    refused[#refused + 1] = place .. problem
  else
    for i = sums, cells - 1 do
      local field, value = ARGV[at + 2 * i], ARGV[at + 2 * i + 1]
      local old = call('HGET', live, field)
      fresh = fresh or not old
      if wins(at, cells, i, old) then call('HSET', live, field, value) end
    end
    if fresh then
      -- A row is new if all its cells are, and it has no others.
      local grown = call('HLEN', live)
      if grown - fields == cells and not has_more(at, cells) then born = born + 1 end
      fields = grown
    end
  end
  at = at + 2 * cells
  place = place + 1
end

if born > 0 then call('HINCRBY', live, '#rows', born) end
local text = table.concat(refused, ',')
if text ~= '' then record_refused(text) end
return { 'applied', text }
