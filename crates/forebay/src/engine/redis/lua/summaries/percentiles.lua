-- A series of percentiles, before the script that merges into summaries: a summary is a hash of counts by bin.
--
-- Its fields: p and n with the number of a bin behind it, of positive and of negative values; z of zero; min and max, the
-- smallest value and the largest, as doubles, little endian. ph and pl, nh and nl are the highest and the lowest bin of a sign.
--
-- What is merged: min and max (f8), the count of zero (u4); for each sign the most bins (u2), how many come (u2), and of each its
-- number (i4) and count (u4), in order. All are little endian.

local TYPE = 'hash'

local function is_ours() return true end

local function text_of(number) return string.format('%d', number) end

-- Moves the counts of bins below `lowest` to that one.
local function collapse(key, sign, lowest)
  local all, pattern = call('HGETALL', key), '^' .. sign .. '(%-?%d+)$'
  for i = 1, #all, 2 do
    local bin = string.match(all[i], pattern)
    if bin and tonumber(bin) < lowest then
      write('HDEL', key, all[i])
      write('HINCRBY', key, sign .. text_of(lowest), all[i + 1])
    end
  end
end

-- Adds the bins of a sign, which begin at a place of the text. Answers the place behind them.
local function add_bins(key, sign, text, at)
  local most, count, bins = nil, nil, {}
  most, count, at = struct.unpack('<I2I2', text, at)
  for i = 1, count do
    local bin, n
    bin, n, at = struct.unpack('<i4I4', text, at)
    bins[i] = { bin, n }
  end
  if count == 0 then return at end
  local known = call('HMGET', key, sign .. 'h', sign .. 'l')
  local old_high, old_low = known[1] and tonumber(known[1]), known[2] and tonumber(known[2])
  local high, low = bins[count][1], bins[1][1]
  if old_high then high, low = math.max(high, old_high), math.min(low, old_low or low) end
  local lowest = high - most + 1
  if old_low and old_low < lowest then collapse(key, sign, lowest) end
  for _, bin in ipairs(bins) do
    write('HINCRBY', key, sign .. text_of(math.max(bin[1], lowest)), text_of(bin[2]))
  end
  low = math.max(low, lowest)
  if high ~= old_high or low ~= old_low then write('HSET', key, sign .. 'h', text_of(high), sign .. 'l', text_of(low)) end
  return at
end

-- Adds the counts of a bucket. Answers whether it is new.
local function merge(key, text, is_new)
  local min, max, zero, at = struct.unpack('<ddI4', text)
  if zero > 0 then write('HINCRBY', key, 'z', text_of(zero)) end
  at = add_bins(key, 'p', text, at)
  add_bins(key, 'n', text, at)
  local old = call('HMGET', key, 'min', 'max')
  local old_min = old[1] and struct.unpack('<d', old[1])
  local old_max = old[2] and struct.unpack('<d', old[2])
  if not old_min or min < old_min then write('HSET', key, 'min', struct.pack('<d', min)) end
  if not old_max or max > old_max then write('HSET', key, 'max', struct.pack('<d', max)) end
  return is_new
end

