-- Shared by the scripts that add to the chunks of a series, before chunks.lua.
--
-- A ranked series has lists of its largest keys in each partition: one for each bucket of some resolutions. A list is a sorted set:
-- key → its count when it was added to for the last time. It has at most 120 keys; and '', which is no key, with a count that no
-- other key exceeds. So a key has at most the larger of the two.
--
-- The field '#top:<step>' of the open buckets tells that there are lists of the buckets of so many seconds: the time in seconds since
-- which no key is missing, and how long a list is kept, in ms. Without it nothing is listed.

-- With the other one, and one more for a moment, few enough for Redis to keep a list as one piece of memory.
local MOST_RANKED = 120
local ranks = {}

-- The list with a name, as it is now; false if the series is not ranked. A key of somebody else is found out here.
local function ranked(open, name)
  local rank = ranks[name]
  if rank == nil then
    local mark = call('HGET', open, '#top:' .. string.match(name, ':top:(%d+):%-?%d+$'))
    rank = mark and { name = name, ttl = string.match(mark, '%d+$'), bound = 0, size = call('ZCARD', name) }
    if rank and rank.size > 0 then
      rank.bound, rank.size = tonumber(call('ZSCORE', name, '') or 0), rank.size - 1
    end
    ranks[name] = rank
  end
  return rank
end

-- The smallest key of a list, and its count.
local function smallest(rank)
  local low = call('ZRANGE', rank.name, 0, 1, 'WITHSCORES')
  local at = low[1] == '' and 3 or 1
  return low[at], tonumber(low[at + 1])
end

-- Notes the count that a key has now.
local function offer(rank, key, total)
  if total <= rank.bound then return end
  local name = rank.name
  if rank.size == 0 then
    write('ZADD', name, '0', '', total, key)
    write('PEXPIRE', name, rank.ttl)
    rank.size = 1
    return
  end
  if rank.size >= MOST_RANKED then
    if not rank.least then rank.least = select(2, smallest(rank)) end
    if total <= rank.least then
      rank.bound, rank.has_changed = total, true
      return
    end
  end
  rank.size = rank.size + write('ZADD', name, total, key)
  if rank.size > MOST_RANKED then
    local last, least = smallest(rank)
    write('ZREM', name, last)
    rank.size, rank.least = MOST_RANKED, least
    if least > rank.bound then rank.bound, rank.has_changed = least, true end
  end
end

-- Writes what changed last of each list, after all counts.
local function save_ranks()
  for _, rank in pairs(ranks) do
    if rank and rank.has_changed then write('ZADD', rank.name, rank.bound, '') end
  end
end
