-- Merges rows into the live generation of a partition, once.
--
-- KEYS[1]  the guard; KEYS[2] the live generation, a hash: '#gen' its id, '#replid' and '#shape' of who began
--          it, '#born' in µs, '#rows' how many; else the column's letter and the row's key → value as text.
-- ARGV[1]  to [3] as in guard.lua. ARGV[4] the replication id that the writer's connection met. ARGV[5] an id for
--          a generation, should this write begin it. ARGV[6] the shape: names, types and merges of the columns.
--          ARGV[7] a character for each column, in the order of their letters from 'A': 's' sum, '>' and '<' the
--          larger and the smaller number, 'x' and 'n' the larger and the smaller text, and a letter from 'A': whatever
--          came with the version in the column of that letter, if it won. ARGV[8] a byte for each row: the number of
--          its cells. Then for each cell its field and value, row by row, each row once, at most 2 000 cells or one
--          row; sums come first, then what goes by a version, which is in the same row.
-- Example  EVALSHA <sha> 2 forebay:buffer:{projects.0}:guard forebay:buffer:{projects.0}:live
--          0192… 17 0 8c7f… 0193… 'projects(id:Text,hits=Sum:Integer)' s \1 A42 1
-- Reply    {'applied', refused}: each row is in, whole, but for those named by place (from 0) and column letter,
--          '3A,7B'. {'stale', id}: nothing was done, for a generation is live that was begun under another
--          replication id, or in another shape; rotate it. Or as guard.lua.

assert(#KEYS == 2 and #ARGV >= 8, 'buffer_add: two keys and eight arguments or more')
local reply = known()
if reply then return reply end

local live, kinds, counts = KEYS[2], ARGV[7], ARGV[8]
local byte, sub = string.byte, string.sub

-- Cell i has its field at ARGV[7 + 2 * i], its value after it, and what is there of it at there[4 + i].
local cells = (#ARGV - 8) / 2
local asked = { '#gen', '#replid', '#shape', '#rows' }
for i = 1, cells do asked[4 + i] = ARGV[7 + 2 * i] end
local there = call('HMGET', live, unpack(asked))
local new = not there[1]
if not new and (there[2] ~= ARGV[4] or there[3] ~= ARGV[6]) then return { 'stale', there[1] } end

-- Integers as decimal text: a Lua number would round them beyond 2^53.
local function less_number(a, b)
  local a_minus, b_minus = byte(a) == 45, byte(b) == 45
  if a_minus ~= b_minus then return a_minus end
  if a_minus then a, b = b, a end
  if #a ~= #b then return #a < #b end
  for i = 1, #a do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return false
end

-- Byte by byte: Lua's `<` would ask the server's locale.
local function less_text(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = byte(a, i), byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

local function better(kind, value, old)
  if value == old then return false end
  if kind == '>' then return less_number(old, value) end
  if kind == '<' then return less_number(value, old) end
  if kind == 'x' then return less_text(old, value) end
  return less_text(value, old)
end

-- The sum of two numbers of up to 19 digits, in two halves that Lua can hold; nil if it leaves 64 bits.
local HALF = 10000000000
local function long_sum(a, b)
  local function halves(text)
    local sign = byte(text) == 45 and -1 or 1
    local digits = sign < 0 and sub(text, 2) or text
    return sign * (tonumber(sub(digits, 1, -11)) or 0), sign * tonumber(sub(digits, -10))
  end
  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  local high, low = a_high + b_high, a_low + b_low
  -- Both of one sign, the lower one below HALF.
  if low >= HALF or high < 0 and low > 0 then high, low = high + 1, low - HALF end
  if low <= -HALF or high > 0 and low < 0 then high, low = high - 1, low + HALF end
  local last = low < 0 and 6854775808 or 6854775807
  if math.abs(high) > 922337203 or math.abs(high) == 922337203 and math.abs(low) > last then return nil end
  if high == 0 then return string.format('%.0f', low) end
  return string.format('%.0f%010.0f', high, math.abs(low))
end

local function sum(old, value)
  -- Below 10^15: a number is exact, and is written with all its digits.
  if #old < 16 and #value < 16 then return old + value end
  return long_sum(old, value)
end

local single = #kinds == 1 and kinds
local function kind_of(i)
  local column = byte(ARGV[7 + 2 * i]) - 64
  return sub(kinds, column, column)
end

-- Whether cell i of a row that ends with cell `last` replaces what is there.
local function wins(kind, i, last)
  local version = byte(kind)
  if version < 65 or version > 96 then
    return not there[4 + i] or better(kind, ARGV[8 + 2 * i], there[4 + i])
  end
  for j = i + 1, last do
    if byte(ARGV[7 + 2 * j]) == version then
      return not there[4 + j] or better(kind_of(j), ARGV[8 + 2 * j], there[4 + j])
    end
  end
end

-- Whether there is a row of another column than those of the cells from `first` to `last`.
local function has_more(first, last)
  if last - first + 1 == #kinds then return false end
  local row, given, fields = sub(ARGV[7 + 2 * first], 2), {}, {}
  for i = first, last do given[byte(ARGV[7 + 2 * i])] = true end
  for column = 65, 64 + #kinds do
    if not given[column] then fields[#fields + 1] = string.char(column) .. row end
  end
  for _, value in ipairs(call('HMGET', live, unpack(fields))) do
    if value then return true end
  end
  return false
end

-- What is to be written, and how far it goes.
local write, used = { live, '#rows', '' }, 3
if new then
  write = { live, '#rows', '', '#gen', ARGV[5], '#replid', ARGV[4], '#shape', ARGV[6], '#born', now_text }
  used = #write
end
local refused, born = {}, 0
local last = 0
for place = 1, #counts do
  local first, before, known_row, problem = last + 1, used, false, nil
  last = last + byte(counts, place)
  for i = first, last do
    local value, old, kind = ARGV[8 + 2 * i], there[4 + i], single or kind_of(i)
    if old then
      known_row = true
      if kind == 's' then
        value = sum(old, value)
        if not value then problem = i break end
      elseif not wins(kind, i, last) then
        value = nil
      end
    elseif kind ~= 's' and not wins(kind, i, last) then
      value = nil
    end
    if value then
      write[used + 1], write[used + 2] = asked[4 + i], value
      used = used + 2
    end
  end
  if problem then
    -- All columns or none.
    used = before
    refused[#refused + 1] = (place - 1) .. sub(asked[4 + problem], 1, 1)
  elseif not known_row and not has_more(first, last) then
    born = born + 1
  end
end

local text = table.concat(refused, ',')
record(text)
if #refused < #counts then
  write[3] = (there[4] or 0) + born
  call('HSET', unpack(write, 1, used))
end
return { 'applied', text }
