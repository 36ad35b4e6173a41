-- Merges rows into the live generations of partitions, each batch once.
--
-- KEYS     two for each batch, no two batches of one partition: its guard; its live generation, a hash: '#gen' its id,
--          '#replid' the server's replication id and '#shape' the writer's when it was begun, '#born' and '#last' the
--          times of its first and its last write in µs, '#rows' how many; else the column's letter and the row's key →
--          value as text. Then for each batch that has tokens their set. All of one hash tag where the server is part of
--          a Redis Cluster.
-- ARGV[1]  the client's id. ARGV[2] the replication id, as in guard.lua. ARGV[3] an id for generations
--          that this call begins: the last four digits of each become the number of its batch. ARGV[4] the shape: names,
--          types and merges of the columns. ARGV[5] a character for each column, in the order of their letters from 'A':
--          's' sum, '>' and '<' the larger and the smaller number, 'x' and 'n' the larger and the smaller text, and a
--          letter from 'A': the number that came with the version in the column of that letter, if it won; of one version
--          the larger or the smaller number, as the version's column. The same with the highest bit set: a text. ARGV[6] the
--          number of batches. Then for each: its sequence, when it was first sent, and its tokens, as in guard.lua; a byte for each row: the number of its cells;
--          then for each cell its field and value, row by row, each row once, at most 2 000 cells or one row; sums come
--          first, then what goes by a version, which is in the same row.
-- Example  EVALSHA <sha> 2 forebay:buffer:{projects.0}:guard forebay:buffer:{projects.0}:live
--          0192… 8c7f… 0193… 'projects(id:Text,hits=Sum:Integer)' s 1 17 0 '' \1 A42 1
-- Reply    a text for each batch. 'met', as in guard.lua. 'applied', and after a blank what was refused: each row is in, whole, but for those
--          named by place (from 0) and column letter, '3A,7B'. 'stale' and an id: nothing was done, for a generation is
--          live that was begun under another replication id, or in another shape; rotate it. Or as guard.lua. Or an
--          error, which costs the other batches nothing.

assert(#KEYS >= 2 and #ARGV >= 10 and #KEYS >= 2 * tonumber(ARGV[6]), 'buffer_add: two keys a batch and ten arguments or more')
local client, fresh, shape, kinds = ARGV[1], unpack(ARGV, 3, 5)
local byte, sub = string.byte, string.sub

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
  -- Below 10^15 a number is exact. As text: what writes it for a command takes three times as long.
  if #old < 16 and #value < 16 then return string.format('%d', old + value) end
  return long_sum(old, value)
end

-- The batch at hand: cell i has its field in asked[5 + i], its value at ARGV[at + 2 * i], and what is there of it
-- in there[5 + i].
local live, at, asked, there

local single = #kinds == 1 and kinds
local function kind_of(i)
  local column = byte(asked[5 + i]) - 64
  return sub(kinds, column, column)
end

-- Whether cell i of a row that ends with cell `last` replaces what is there.
local function wins(kind, i, last)
  local version = byte(kind)
  local is_text = version > 128
  if is_text then version = version - 128 end
  if version < 65 or version > 96 then
    return not there[5 + i] or better(kind, ARGV[at + 2 * i], there[5 + i])
  end
  for j = i + 1, last do
    if byte(asked[5 + j]) == version then
      local by = kind_of(j)
      if not there[5 + j] or better(by, ARGV[at + 2 * j], there[5 + j]) then return true end
      if there[5 + j] ~= ARGV[at + 2 * j] then return false end
      -- Of one version the value decides, whichever came first.
      local is_last = by == '>' or by == 'x'
      local order = is_text and (is_last and 'x' or 'n') or (is_last and '>' or '<')
      return not there[5 + i] or better(order, ARGV[at + 2 * i], there[5 + i])
    end
  end
end

-- Whether there is a row of another column than those of the cells from `first` to `last`.
local function has_more(first, last)
  if last - first + 1 == #kinds then return false end
  local row, given, fields = sub(asked[5 + first], 2), {}, {}
  for i = first, last do given[byte(asked[5 + i])] = true end
  for column = 65, 64 + #kinds do
    if not given[column] then fields[#fields + 1] = string.char(column) .. row end
  end
  for _, value in ipairs(call('HMGET', live, unpack(fields))) do
    if value then return true end
  end
  return false
end

-- Merges the rows of the batch, `counts` cells each, and returns its reply.
local function add(place, guard, sequence, since, set, tokens, counts, cells)
  local reply, last_at = known(guard, client, sequence, since)
  if not reply and set then reply = met(set, tokens) end
  if reply then return reply end

  asked = { '#gen', '#replid', '#shape', '#rows', '#last' }
  for i = 1, cells do asked[5 + i] = ARGV[at + 2 * i - 1] end
  there = call('HMGET', live, unpack(asked))
  local new = not there[1]
  if not new and (there[2] ~= replid or there[3] ~= shape) then return 'stale ' .. there[1] end

  -- What is to be written, and how far it goes.
  local write, used = { live }, 1
  if new then
    local id = sub(fresh, 1, -5) .. string.format('%04x', place)
    write = { live, '#gen', id, '#replid', replid, '#shape', shape, '#born', now_text }
    used = #write
  end
  local refused, is_refused, born = {}, {}, 0
  local last = 0
  for row = 1, #counts do
    local first, before, known_row, problem = last + 1, used, false, nil
    last = last + byte(counts, row)
    for i = first, last do
      local value, old, kind = ARGV[at + 2 * i], there[5 + i], single or kind_of(i)
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
        write[used + 1], write[used + 2] = asked[5 + i], value
        used = used + 2
      end
    end
    if problem then
      -- All columns or none.
      used = before
      refused[#refused + 1] = (row - 1) .. sub(asked[5 + problem], 1, 1)
      is_refused[row - 1] = true
    elseif not known_row and not has_more(first, last) then
      born = born + 1
    end
  end

  local text = table.concat(refused, ',')
  record(guard, client, sequence, last_at, text)
  if born > 0 then
    write[used + 1], write[used + 2] = '#rows', string.format('%d', (there[4] or 0) + born)
    used = used + 2
  end
  if set and used == 1 then remember(set, tokens, is_refused) end
  if #refused < #counts and used > 1 then
    -- Later with every write, whatever the clock does: by it a ledger tells this state from an earlier one.
    local last = math.max(now, (there[5] or 0) + 1)
    write[used + 1], write[used + 2] = '#last', string.format('%.0f', last)
    if set then remember(set, tokens, is_refused) end
    local ok, problem = pcall(call, 'HSET', unpack(write, 1, used + 2))
    if not ok then
      if set then forget(set, tokens) end
      error(problem, 0)
    end
  end
  return text == '' and 'applied' or 'applied ' .. text
end

local replies, next_at, next_set = {}, 7, 2 * ARGV[6]
for place = 1, tonumber(ARGV[6]) do
  local sequence, since, tokens, counts = unpack(ARGV, next_at, next_at + 3)
  local cells = 0
  for i = 1, #counts do cells = cells + byte(counts, i) end
  live, at = KEYS[2 * place], next_at + 3
  next_at = next_at + 4 + 2 * cells
  local set = nil
  if tokens ~= '' then
    next_set = next_set + 1
    set = KEYS[next_set]
  end
  local ok, reply = pcall(add, place, KEYS[2 * place - 1], sequence, since, set, tokens, counts, cells)
  -- The rows are what is written last: whatever was refused, none of them is in.
  if not ok then reply = { err = 'UNTOUCHED ' .. (type(reply) == 'table' and reply.err or reply) } end
  replies[place] = reply
end
return replies
