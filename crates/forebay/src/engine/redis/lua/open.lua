-- Shared by the scripts that take the counts of one key out of open buckets, before their own text. The list of open buckets, and what
-- these are, is in series_add.lua. A script may write to buckets that its caller has named; there may be others by now.

-- The starts of all open buckets, if some of them are not among `named`.
local function unknown_buckets(open, named)
  local is_named, starts, has_unknown = {}, {}, false
  for _, start in ipairs(named) do is_named[start] = true end
  local listed = call('HGETALL', open)
  for i = 1, #listed, 2 do
    if string.sub(listed[i], 1, 1) ~= '#' then
      starts[#starts + 1] = listed[i]
      has_unknown = has_unknown or not is_named[listed[i]]
    end
  end
  return has_unknown and starts
end

-- The counts of a key in buckets, whose names in KEYS come after a place: of each the start, the name and the count.
local function open_counts(key, starts, before)
  local counts = {}
  for i, start in ipairs(starts) do
    local count = call('HGET', KEYS[before + i], key)
    if count then counts[#counts + 1] = { start = start, bucket = KEYS[before + i], n = count } end
  end
  return counts
end

-- Takes these counts of a key out of their buckets. A bucket without a key goes off the list: one field is none.
local function take_out(open, key, counts)
  for _, count in ipairs(counts) do
    write('HDEL', count.bucket, key)
    if call('HLEN', count.bucket) <= 1 then
      write('UNLINK', count.bucket)
      write('HDEL', open, count.start)
    end
  end
  -- A reader that has read the buckets and not the chunks reads again.
  if call('EXISTS', open) == 1 then write('HINCRBY', open, '#seals', '1') end
end
