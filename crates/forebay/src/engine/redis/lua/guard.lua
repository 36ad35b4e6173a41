-- Shared by the sequenced writes, before their own text.
--
-- KEYS[1]  the guard of the partition: a hash, client → "sequence µs refused", pruned after a day.
-- ARGV[1]  the client's id, ARGV[2] the sequence of this batch, ARGV[3] this server's time in µs when the
--          batch was first sent, or before; 0: this is the first time.

local call = redis.call
local HOUR = 3600000000
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local now_text = string.format('%.0f', now)
local last = call('HGET', KEYS[1], ARGV[1])
local last_at

-- The reply, if there is nothing left to do: 'duplicate', with what was refused of this batch then;
-- 'overtaken', by a later batch of this client; 'late', so that the guard may have been pruned.
local function known()
  if last then
    local sequence, at, refused = string.match(last, '^(%d+) (%d+) (.*)$')
    last_at = at
    if sequence == ARGV[2] then return { 'duplicate', refused } end
    if tonumber(sequence) > tonumber(ARGV[2]) then return { 'overtaken' } end
  end
  local since = tonumber(ARGV[3])
  if since > 0 and now - since > 12 * HOUR then return { 'late' } end
end

-- Remembers this batch and what was refused of it, before anything of it is applied.
local function record(refused)
  if not last then
    local all = call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
      local at = string.match(all[i + 1], '^%d+ (%d+)')
      if now - at > 24 * HOUR then call('HDEL', KEYS[1], all[i]) end
    end
  end
  call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. now_text .. ' ' .. refused)
  -- A day, and the hour in which nobody says so again.
  if not last or math.floor(now / HOUR) ~= math.floor(last_at / HOUR) then
    call('PEXPIRE', KEYS[1], '90000000')
  end
end

