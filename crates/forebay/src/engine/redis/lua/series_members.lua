-- Counts the keys of a series that has a bound on them.
--
-- KEYS[1]  the members, a sorted set: each key of the series, by the time in µs since 1970 until which it has a count that is kept.
-- KEYS[2]  the doubtful members, a sorted set: those of which it is not certain that they have a count, by the time from which on that
--          can be looked at. They are new, or were deleted.
-- ARGV[1]  'claim': new keys become members, if all of them fit; 'check': only whether they fit; 'doubt': keys may have no count any
--          more; 'due': members to look at; 'looked': keys that were due, first those that have no count.
-- ARGV[2]  the time in µs until which the programs that know of a member may add to it; of 'due', the number of members; of 'looked',
--          the number of keys that have no count.
-- ARGV[3]  for 'claim' and 'check', how many members there may be; else 0. Then the keys; for 'claim', after each the time in µs
--          until which its count is kept.
-- Example  EVALSHA <sha> 2 forebay:members:{hits} forebay:members:{hits}:doubtful claim 180000000 1000 user:42 1790000000000000
-- Reply    for 'claim' and 'check' -1, or how many members there are: the new ones do not fit, and nothing was done. For 'due' the
--          members. Else -1.

assert(#KEYS == 2 and #ARGV >= 3, 'series_members: two keys and three arguments or more')
local members, doubtful, act, most = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3])
local now = server_time()
local function time(micros) return string.format('%.0f', micros) end

-- Lets both keys live as long as the last member.
local function live()
  local last = call('ZRANGE', members, -1, -1, 'WITHSCORES')[2]
  if not last then return end
  local left = time(math.max(math.floor((last - now) / 1000) + 1, 1))
  write('PEXPIRE', members, left)
  write('PEXPIRE', doubtful, left)
end

if act == 'due' then return call('ZRANGEBYSCORE', doubtful, '-inf', time(now), 'LIMIT', 0, ARGV[2]) end
if act == 'looked' then
  for i = 4, #ARGV do
    local due = call('ZSCORE', doubtful, ARGV[i])
    -- Else somebody has claimed it, or deleted it, since it was looked at.
    if due and tonumber(due) <= now then
      write('ZREM', doubtful, ARGV[i])
      if i < 4 + tonumber(ARGV[2]) then write('ZREM', members, ARGV[i]) end
    end
  end
  return -1
end
local from = time(now + tonumber(ARGV[2]))
if act == 'doubt' then
  for i = 4, #ARGV do
    if call('ZSCORE', members, ARGV[i]) then write('ZADD', doubtful, from, ARGV[i]) end
  end
  live()
  return -1
end

-- Those whose last count is not kept any more: some at a time, for it may be that many keys end together.
for _, key in ipairs(call('ZRANGEBYSCORE', members, '-inf', time(now), 'LIMIT', 0, 1000)) do
  write('ZREM', members, key)
  write('ZREM', doubtful, key)
end
local step, new = act == 'claim' and 2 or 1, 0
local is_new = {}
for i = 4, #ARGV, step do
  local score = call('ZSCORE', members, ARGV[i])
  if not score or tonumber(score) <= now then is_new[i], new = true, new + 1 end
end
local count = call('ZCOUNT', members, '(' .. time(now), '+inf')
if count + new > most and new > 0 then return count end
if act == 'claim' then
  for i = 4, #ARGV, 2 do
    write('ZADD', members, 'GT', ARGV[i + 1], ARGV[i])
    -- What is looked at now must not go: it is about to be added to.
    if is_new[i] or call('ZSCORE', doubtful, ARGV[i]) then write('ZADD', doubtful, from, ARGV[i]) end
  end
  live()
end
return -1
