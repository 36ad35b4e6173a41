-- Shared by the sequenced writes, before their own text.
--
-- KEYS[1]  the guard of the partition: a hash, client → "sequence µs refused", pruned after a day.
-- ARGV[1]  the client's id, ARGV[2] the sequence of this batch, ARGV[3] this server's time in µs when the
--          batch was first sent, or before; 0: this is the first time.

local call = redis.call
local guard, client, sequence = KEYS[1], ARGV[1], tonumber(ARGV[2])
local DAY = 86400000000
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local now_text = string.format('%.0f', now)
local last = call('HGET', guard, client)

-- The reply, if there is nothing left to do: 'duplicate', with what was refused of this batch then;
-- 'overtaken', by a later batch of this client; 'late', so that the guard may have been pruned.
local function known()
  if last then
    local seen, refused = string.match(last, '^(%d+) %d+ (.*)$')
    if tonumber(seen) == sequence then return { 'duplicate', refused } end
    if tonumber(seen) > sequence then return { 'overtaken' } end
  end
  local since = tonumber(ARGV[3])
  if since > 0 and now - since > DAY / 2 then return { 'late' } end
end

-- Remembers this batch, before anything of it is applied.
local function record()
  if not last then
    local all = call('HGETALL', guard)
    for i = 1, #all, 2 do
      local at = string.match(all[i + 1], '^%d+ (%d+)')
      if now - at > DAY then call('HDEL', guard, all[i]) end
    end
  end
  call('HSET', guard, client, ARGV[2] .. ' ' .. now_text .. ' ')
  call('PEXPIRE', guard, '86400000')
end

-- Remembers what of it was refused.
local function record_refused(refused)
  call('HSET', guard, client, ARGV[2] .. ' ' .. now_text .. ' ' .. refused)
end

