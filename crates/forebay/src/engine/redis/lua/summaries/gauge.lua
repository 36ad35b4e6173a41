-- A series of gauges, before the script that merges into summaries: a summary is a hash of buckets, by slot, as text.
--
-- The values of a bucket are seven doubles, little endian: the time of the last one in µs, the last one, the smallest, the
-- largest, the sum, what the sum lacks, and how many there are. What is merged is for each slot the slot (u2) and such values.

local TYPE = 'hash'
local FORM = '<ddddddd'

-- What a hash has in a slot is looked at where it is merged.
local function is_ours() return true end

-- The values of two buckets together. The sums are added with their errors, as model/summary/gauge.rs has it.
local function both(one, two)
  local a_at, a_last, a_min, a_max, a, a_low, a_count = struct.unpack(FORM, one)
  local b_at, b_last, b_min, b_max, b, b_low, b_count = struct.unpack(FORM, two)
  if b_at > a_at or b_at == a_at and b_last > a_last then a_at, a_last = b_at, b_last end
  local sum = a + b
  local of_b = sum - a
  local lacks = (a - (sum - of_b)) + (b - of_b) + (a_low + b_low)
  local high = sum + lacks
  return struct.pack(
    FORM, a_at, a_last, math.min(a_min, b_min), math.max(a_max, b_max), high, lacks - (high - sum), a_count + b_count
  )
end

-- Merges buckets. Answers whether any is new.
local function merge(key, text, is_new)
  local slots, cells, has_new = {}, {}, false
  for at = 1, #text, 58 do
    local slot = struct.unpack('<I2', text, at)
    slots[#slots + 1] = string.format('%d', slot)
  end
  local old = is_new and {} or call('HMGET', key, unpack(slots))
  for i, slot in ipairs(slots) do
    local new = string.sub(text, 58 * i - 55, 58 * i)
    if old[i] and #old[i] == #new then new = both(old[i], new) else has_new = true end
    cells[2 * i - 1], cells[2 * i] = slot, new
  end
  write('HSET', key, unpack(cells))
  return has_new
end

