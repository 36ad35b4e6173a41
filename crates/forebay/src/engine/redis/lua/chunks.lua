-- Shared by the scripts that add to the chunks of a series, before their own text, and behind ranks.lua.
--
-- A chunk is a string in one of three forms, told apart by its length; all numbers are unsigned and big endian. Pairs: slot
-- (2 bytes) and count (4 bytes), in the order of their slots, then unused pairs (slot 65535); they are shorter than the next
-- form. Narrow: a count of 4 bytes for each slot. Wide: 8 bytes for each slot. Anything else is refused.
--
-- The argument of a chunk is a text of numbers, by threes: how long it shall live in ms, should this write begin it; how many slots
-- it has; if it is of the coarsest resolution the place in KEYS of the list of its keys, else 0; how many bytes the key of the
-- series has, with which the name of the chunk ends, and 0 and 0; then for each point its slot (from 0, each once), what to add (1
-- to 2^63 - 1), and the place in KEYS of the list of the largest keys of its bucket, or 0. A count stops at 2^63 - 1.
--
-- A list of keys is a sorted set of the keys of the series that have a chunk of that number, all with the score 0. It lives as
-- long as they do.

-- Lists keys whose chunks are begun.
local function list_keys(list, keys, ttl)
  local members = {}
  for i, key in ipairs(keys) do members[2 * i - 1], members[2 * i] = '0', key end
  local added = write('ZADD', list, unpack(members))
  if added > 0 and call('ZCARD', list) == added then write('PEXPIRE', list, ttl) end
end

-- Whether a text is a chunk of so many slots.
local function is_chunk(text, slots)
  return #text == 4 * slots or #text == 8 * slots or #text < 4 * slots and #text % 6 == 0
end

-- Reads the chunks, which are the keys after so many keys. Their arguments come after so many arguments. What is of somebody
-- else is found out here, before anything is written: MGET shows no key of another type. `open` is the list of open buckets.
local function read_chunks(open, keys_before, arguments_before)
  local texts, absent = call('MGET', unpack(KEYS, keys_before + 1)), {}
  -- Of each chunk: how long it lives, how many slots it has, and what gives its points.
  local lives, sizes, points = {}, {}, {}
  -- The place of its list of keys, and the bytes of its key.
  local lists, lengths = {}, {}
  for i, text in ipairs(texts) do
    local numbers = string.gmatch(ARGV[i + arguments_before], '(%d+) (%d+) (%d+)')
    local ttl, slots, list = numbers()
    local length = numbers()
    lives[i], sizes[i], points[i] = ttl, tonumber(slots), numbers
    lists[i], lengths[i] = tonumber(list), tonumber(length)
    if not text then
      absent[#absent + 1] = KEYS[i + keys_before]
    elseif not is_chunk(text, sizes[i]) then
      refuse_foreign(i + keys_before)
    end
  end
  if absent[1] and call('EXISTS', unpack(absent)) > 0 then error('WRONGTYPE a chunk is a string', 0) end
  for i, text in ipairs(texts) do
    if not text and lists[i] > 0 then call('ZCARD', KEYS[lists[i]]) end
  end
  for i = 1, keys_before do
    if string.find(KEYS[i], ':top:%d+:%-?%d+$') then ranked(open, KEYS[i]) end
  end
  return {
    texts = texts, lives = lives, sizes = sizes, points = points, lists = lists, lengths = lengths, keys_before = keys_before, open = open
  }
end

local byte, sub, floor = string.byte, string.sub, math.floor
local pack, read = struct.pack, struct.unpack
local UNUSED, MOST_NARROW = 65535, 4294967295

-- How many bytes of pairs come before a slot.
local function find(text, slot)
  local low, high = 0, #text / 6
  while low < high do
    local middle = floor((low + high) / 2)
    local a, b = byte(text, 6 * middle + 1, 6 * middle + 2)
    if a * 256 + b < slot then low = middle + 1 else high = middle end
  end
  return 6 * low
end

-- Pairs with one more, and room for an eighth more than they are: rewriting them all for each new one would
-- send the whole chunk to every replica each time.
local function insert(text, at, pair)
  local used = find(text, UNUSED)
  local room = string.rep('\255\255\0\0\0\0', 1 + floor(used / 48))
  return sub(text, 1, at) .. pair .. sub(text, at + 1, used) .. room
end

-- From pairs to the narrow form.
local function spread(text, slots)
  local counts = {}
  for slot = 1, slots do counts[slot] = '\0\0\0\0' end
  for at = 1, find(text, slots), 6 do
    counts[1 + read('>I2', text, at)] = sub(text, at + 2, at + 5)
  end
  return table.concat(counts)
end

local function store(key, text, ttl, new)
  if text == '' then write('SET', key, new, 'PX', ttl) else write('SET', key, new, 'KEEPTTL') end
end

-- Adds one point. Returns the chunk, if what comes after may still read from it, else nil; and the count that the slot has now.
local function add(key, text, slots, ttl, slot, n)
  local count, offset = tonumber(n), nil
  if #text == 4 * slots then
    offset = 4 * slot
  elseif #text < 4 * slots then
    local at = find(text, slot)
    local there = at < #text and read('>I2', text, at + 1)
    if there == slot then
      offset = at + 2
    elseif count <= MOST_NARROW then
      local pair = pack('>I2I4', slot, count)
      if there == UNUSED then
        write('SETRANGE', key, at, pair)
      else
        local new = insert(text, at, pair)
        if #new > 3 * slots then new = spread(new, slots) end
        store(key, text, ttl, new)
      end
      return nil, count
    end
  end
  if offset then
    count = count + read('>I4', text, offset + 1)
    if count <= MOST_NARROW then
      write('SETRANGE', key, offset, pack('>I4', count))
      -- No slot comes twice: of the narrow form the rest is as it was read.
      return #text == 4 * slots and text or nil, count
    end
  end
  -- As it is by now: points before this one may have changed it since it was read.
  local wide = text == '' and text or call('GET', key)
  if #wide < 4 * slots then wide = spread(wide, slots) end
  if #wide == 4 * slots then
    wide = string.gsub(wide, '....', '\0\0\0\0%0')
    store(key, text, ttl, wide)
  end
  -- As text: a Lua number would round it.
  return wide, write('BITFIELD', key, 'OVERFLOW', 'SAT', 'INCRBY', 'i64', '#' .. slot, n)[1]
end

-- Adds the points of chunks that were read.
local function count(chunks)
  for i, text in ipairs(chunks.texts) do
    local key = KEYS[i + chunks.keys_before]
    if not text then
      text = ''
      if chunks.lists[i] > 0 then list_keys(KEYS[chunks.lists[i]], { string.sub(key, -chunks.lengths[i]) }, chunks.lives[i]) end
    end
    for slot, n, place in chunks.points[i] do
      local total
      text, total = add(key, text or call('GET', key), chunks.sizes[i], chunks.lives[i], tonumber(slot), n)
      local rank = place ~= '0' and ranked(chunks.open, KEYS[tonumber(place)])
      if rank then offer(rank, string.sub(key, -chunks.lengths[i]), total) end
    end
  end
  save_ranks()
end
