-- Adds points to the open buckets of partitions of a series, each batch once.
--
-- KEYS     three for each batch, no two of one partition: its guard; its list of open buckets, a hash: the start of each in
--          seconds → the resolutions of the series as its first writer knew them, and '#seals', how often counts were moved to
--          chunks; and its first bucket, a hash: key of the series → count, and '' → a long text, without which a server would
--          keep a small hash as a list, and search it key by key. Then for each batch the set of its tokens, if it has any, and
--          its further buckets. All of one hash tag where the server is part of a Redis Cluster.
-- ARGV[1]  the client's id. ARGV[2] the replication id, as in guard.lua. ARGV[3] how long a bucket is kept at most, in ms.
--          ARGV[4] the resolutions, as text: step and retention of each in seconds, '10/86400,60/604800'. ARGV[5] the number of
--          batches. Then for each: its sequence, when it was first sent, and its tokens, as in guard.lua; the
--          number of its buckets; then for each bucket its start, the number of its keys, and each key with what to add (1 to
--          2^63 - 1).
-- Example  EVALSHA <sha> 3 forebay:series:{hits.3}:guard forebay:series:{hits.3}:open forebay:series:{hits.3}:open:1790000010
--          0192… 8c7f… 63072300000 10/86400 1 17 0 '' 1 1790000010 2 user:42 1 user:7 3
-- Reply    a text for each batch: 'applied', 'met' and the rest as guard.lua, or as guard.lua; or an error, which costs the other
--          batches nothing.

local batches = tonumber(ARGV[5])
assert(#KEYS >= 3 * batches and #ARGV >= 5 + 8 * batches, 'series_add: three keys a batch and thirteen arguments or more')
local client, life, resolutions = ARGV[1], ARGV[3], ARGV[4]
local MOST = '9223372036854775807'
-- Longer than 64 bytes: see above.
local TABLE = string.rep(' ', 65)

-- Adds so many keys, which come after an argument, to a bucket. A count stops at 2^63 - 1.
local function add_all(bucket, count, before)
  local i, last = before + 1, before + 2 * count
  local function rest()
    while i < last do
      call('HINCRBY', bucket, ARGV[i], ARGV[i + 1])
      i = i + 2
    end
  end
  while true do
    local ok, problem = pcall(rest)
    if ok then return end
    local text = type(problem) == 'table' and problem.err or problem
    if not string.find(text, 'overflow', 1, true) then error(problem, 0) end
    write('HSET', bucket, ARGV[i], MOST)
    i = i + 2
  end
end

-- Adds the points of a batch to its buckets, of each of which there are the key, the start, and how many keys come after which
-- argument.
local function add(open, buckets)
  for _, bucket in ipairs(buckets) do
    if bucket.is_new then
      write('HSET', open, bucket.start, resolutions)
      write('HSET', bucket.key, '', TABLE)
      write('PEXPIRE', bucket.key, life)
      write('PEXPIRE', open, life)
    end
    add_all(bucket.key, bucket.count, bucket.before)
  end
end

local function apply(place, sequence, since, set, tokens, buckets)
  local guard, open = KEYS[3 * place - 2], KEYS[3 * place - 1]
  local reply, last_at = known(guard, client, sequence, since)
  if not reply and set then reply = met(set, tokens) end
  if reply then return reply end
  -- Refused here if they are of another type, before anything is written. One that is listed is known to be a hash.
  local starts = {}
  for i, bucket in ipairs(buckets) do starts[i] = bucket.start end
  for i, listed in ipairs(call('HMGET', open, unpack(starts))) do
    if not listed then
      buckets[i].is_new = true
      call('HLEN', buckets[i].key)
    end
  end
  record(guard, client, sequence, last_at, '')
  with_tokens(set, tokens, add, open, buckets)
  return 'applied'
end

local replies, at, further = {}, 6, 3 * batches
for place = 1, batches do
  local sequence, since, tokens, count = unpack(ARGV, at, at + 3)
  at = at + 4
  local set, buckets = nil, {}
  if tokens ~= '' then
    further = further + 1
    set = KEYS[further]
  end
  for i = 1, tonumber(count) do
    local key = KEYS[3 * place]
    if i > 1 then
      further = further + 1
      key = KEYS[further]
    end
    local keys = tonumber(ARGV[at + 1])
    buckets[i] = { key = key, start = ARGV[at], count = keys, before = at + 1 }
    at = at + 2 + 2 * keys
  end
  wrote = false
  local ok, reply = pcall(apply, place, sequence, since, set, tokens, buckets)
  if not ok then
    reply = { err = (wrote and 'PARTLY ' or 'UNTOUCHED ') .. (type(reply) == 'table' and reply.err or reply) }
  end
  replies[place] = reply
end
return replies
