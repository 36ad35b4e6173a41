-- Moves counts of an open bucket of a series to the chunks of each resolution that keeps them.
--
-- KEYS[1]  the open buckets, and KEYS[2] the bucket, as in series_add.lua. KEYS[3] the list of keys of its chunks of the coarsest
--          resolution, as in chunks.lua. Then lists of the largest keys, as in ranks.lua. Then for each key of the series its chunk
--          of each resolution, from the finest.
-- ARGV[1]  the start of the bucket. ARGV[2] how long the open buckets are kept at most, in ms. ARGV[3] the number of resolutions.
--          Then for each: how long a chunk shall live in ms, should this begin it; how many slots it has; the bucket's slot;
--          and the place in KEYS of the list of its largest keys, or 0. Then the keys of the series, at most 1 000.
-- Example  EVALSHA <sha> 4 forebay:series:{hits.3}:open forebay:series:{hits.3}:open:1790000010
--          forebay:series:{hits.3}:keys:497222 forebay:series:{hits.3}:10:497222:42
--          1790000010 63072300000 1 90000000 360 81 0 42
-- Reply    How many keys the bucket has left; then the places in KEYS of chunks that are of somebody else. The counts that belong
--          there stay in the bucket. Others may have moved any of them before: what is there is moved.

local resolutions = tonumber(ARGV[3])
assert(#KEYS >= 3 and #ARGV >= 3, 'series_seal: three keys and three arguments or more')
local before, first = 3 + 4 * resolutions, 3
for r = 1, resolutions do first = math.max(first, tonumber(ARGV[3 + 4 * r])) end
assert(#KEYS == first + (#ARGV - before) * resolutions, 'series_seal: a chunk of each resolution for each key')
local open, bucket, list = KEYS[1], KEYS[2], KEYS[3]
local counts = #ARGV > before and call('HMGET', bucket, unpack(ARGV, before + 1)) or {}

-- The chunks of the keys that are there: the place of each in KEYS.
local places, chunks = {}, {}
for i, count in ipairs(counts) do
  for r = 1, count and resolutions or 0 do
    places[#places + 1] = first + (i - 1) * resolutions + r
    chunks[#chunks + 1] = KEYS[places[#places]]
  end
end
local texts, foreign, absent = {}, {}, {}
if chunks[1] then
  for i, text in ipairs(call('MGET', unpack(chunks))) do
    texts[places[i]] = text
    if not text then
      absent[#absent + 1] = chunks[i]
    elseif not is_chunk(text, tonumber(ARGV[5 + 4 * ((i - 1) % resolutions)])) then
      foreign[places[i]] = true
    end
  end
end
-- MGET shows no key of another type.
if absent[1] and call('EXISTS', unpack(absent)) > 0 then
  for i, place in ipairs(places) do
    if not texts[place] and call('TYPE', chunks[i]).ok ~= 'none' then foreign[place] = true end
  end
end

local going, reply = {}, { 0 }
for i, count in ipairs(counts) do
  local is_free = count
  for r = 1, resolutions do
    local place = first + (i - 1) * resolutions + r
    if foreign[place] then is_free, reply[#reply + 1] = false, place end
  end
  if is_free then going[#going + 1] = i end
end
if going[1] then
  call('ZCARD', list)
  local lists = {}
  for r = 1, resolutions do
    local place = tonumber(ARGV[3 + 4 * r])
    lists[r] = place > 0 and ranked(open, KEYS[place])
  end
  -- First from here: what failed between the two would be lost, and is never counted twice.
  local fields = {}
  for j, i in ipairs(going) do fields[j] = ARGV[before + i] end
  if write('HINCRBY', open, '#seals', '1') == 1 then write('PEXPIRE', open, ARGV[2]) end
  write('HDEL', bucket, unpack(fields))
  local begun = {}
  for _, i in ipairs(going) do
    if resolutions > 0 and not texts[first + i * resolutions] then begun[#begun + 1] = ARGV[before + i] end
  end
  if begun[1] then list_keys(list, begun, ARGV[4 * resolutions]) end
  for _, i in ipairs(going) do
    for r = 1, resolutions do
      local place, at = first + (i - 1) * resolutions + r, 4 * r
      local slots, slot = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
      local _, total = add(KEYS[place], texts[place] or '', slots, ARGV[at], slot, counts[i])
      if lists[r] then offer(lists[r], ARGV[before + i], total) end
    end
  end
  save_ranks()
end
-- One field is no key.
reply[1] = math.max(call('HLEN', bucket) - 1, 0)
if reply[1] == 0 then
  write('UNLINK', bucket)
  write('HDEL', open, ARGV[1])
end
return reply
