-- Deletes a span of a key of a series: some buckets become zero, and others lose a part of their count.
--
-- KEYS[1]  the open buckets, as in series_add.lua; then as many of them as ARGV has starts; then chunks, each once, as in
--          chunks.lua.
-- ARGV[1]  the key. ARGV[2] the number of known open buckets; then the start of each, and 1 if it is in the span, else 0. Then
--          the number of chunks, and how many slots each has. Then runs with all that goes, as a count and for each run its
--          chunk (from 1), its first slot and its last; then the runs that become zero, likewise. Then the number of parts; for
--          each its chunk and slot, and the runs, likewise, with what it loses.
-- Example  EVALSHA <sha> 2 forebay:series:{hits.3}:open forebay:series:{hits.3}:10:497222:42 42 0 1 360 1 1 0 5 1 1 0 5 0
-- Reply    how much was deleted, as text. Or a list with the starts of all open buckets: some were not known, and nothing was
--          done.

local at = 0
local function next_argument()
  at = at + 1
  return ARGV[at]
end
local function next_number() return tonumber(next_argument()) end

local key, buckets = next_argument(), next_number()
assert(#KEYS >= 1 + buckets and #ARGV >= 6, 'series_erase: a key for each start, and six arguments or more')
local open, named, is_within = KEYS[1], {}, {}
for i = 1, buckets do
  named[i] = next_argument()
  is_within[named[i]] = next_argument() == '1'
end
local unknown = unknown_buckets(open, named)
if unknown then return unknown end

local chunks, first, sizes = next_number(), 1 + buckets, {}
local texts = chunks > 0 and call('MGET', unpack(KEYS, first + 1, first + chunks)) or {}
for i = 1, chunks do
  sizes[i] = next_number()
  if texts[i] then
    if not is_chunk(texts[i], sizes[i]) then refuse_foreign(first + i) end
  elseif call('TYPE', KEYS[first + i]).ok ~= 'none' then
    refuse_foreign(first + i)
  end
end

-- The sum of the next runs.
local function next_sum()
  local sum = 0
  for _ = 1, next_number() do
    local chunk, from, to = next_number(), next_number(), next_number()
    local text = texts[chunk]
    if text and #text < 4 * sizes[chunk] then
      local i = find(text, from)
      while i < #text do
        local slot, n = read('>I2I4', text, i + 1)
        if slot > to then break end
        sum, i = sum + n, i + 6
      end
    elseif text then
      local width = #text / sizes[chunk]
      local form = width == 4 and '>I4' or '>I8'
      for slot = from, to do sum = sum + read(form, text, width * slot + 1) end
    end
  end
  return sum
end

local sum, zero = next_sum(), {}
for i = 1, next_number() do zero[i] = { next_number(), next_number(), next_number() } end
local parts = {}
for i = 1, next_number() do
  parts[i] = { next_number(), next_number() }
  parts[i][3] = next_sum()
end
local going = {}
for _, count in ipairs(open_counts(key, named, 1)) do
  if is_within[count.start] then
    sum = sum + count.n
    going[#going + 1] = count
  end
end
take_out(open, key, going)

for _, run in ipairs(zero) do
  local chunk, from, to = unpack(run)
  local text, name = texts[chunk], KEYS[first + chunk]
  if text and #text < 4 * sizes[chunk] then
    local low, high = find(text, from), find(text, to + 1)
    if high > low then
      local unused = string.rep('\255\255\0\0\0\0', (high - low) / 6)
      texts[chunk] = sub(text, 1, low) .. sub(text, high + 1) .. unused
      write('SET', name, texts[chunk], 'KEEPTTL')
    end
  elseif text then
    local width = #text / sizes[chunk]
    write('SETRANGE', name, width * from, string.rep('\0', width * (to - from + 1)))
    texts[chunk] = call('GET', name)
  end
end
for _, part in ipairs(parts) do
  local chunk, slot, n = unpack(part)
  local text, name = texts[chunk], KEYS[first + chunk]
  if text and n > 0 then
    if #text == 8 * sizes[chunk] then
      write('BITFIELD', name, 'OVERFLOW', 'SAT', 'INCRBY', 'i64', '#' .. slot, string.format('%.0f', -n))
    else
      local offset = 4 * slot
      if #text < 4 * sizes[chunk] then
        local i = find(text, slot)
        offset = i < #text and read('>I2', text, i + 1) == slot and i + 2
      end
      if offset then write('SETRANGE', name, offset, pack('>I4', math.max(read('>I4', text, offset + 1) - n, 0))) end
    end
    texts[chunk] = call('GET', name)
  end
end
return string.format('%.0f', sum)
