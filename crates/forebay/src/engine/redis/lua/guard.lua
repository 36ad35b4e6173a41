-- Shared by the sequenced writes, before their own text.
--
-- KEYS     for each batch the guard of its partition: a hash, client → "sequence µs refused", pruned after a day.
-- ARGV[1]  the client's id. ARGV[2] the replication id that the writer believes this server to have. Then for each batch its
--          sequence, and this server's time in µs when the batch was first sent, or before; 0: this is the first time.
-- Reply    An error FENCED, as in fence.lua: the batch was not applied before, and was not now. 'changed' and an id, for all batches: nothing was done, for that is the server's replication id. An error
--          READONLY: nothing was done, for the server is not a primary. NOPERM: nothing was done, for the user may not INFO.

-- Where the write happens, and not when the writer connected: a server may be demoted and promoted again under an open
-- connection, and its id changes also when the first replica attaches. Plain searches: a pattern takes longer than INFO.
local info = redis.pcall('INFO', 'replication')
if type(info) == 'table' then return { err = 'NOPERM INFO: ' .. info.err } end
if not string.find(info, 'role:master', 1, true) then
  return { err = 'READONLY this server is a replica' }
end
local _, before_id = string.find(info, 'master_replid:', 1, true)
-- Empty where INFO does not tell it.
local replid = before_id and string.sub(info, before_id + 1, before_id + 40) or ''
if replid ~= ARGV[2] then return 'changed ' .. replid end

-- Tokens of a batch, in a text: for each the place of its row (u2, from 0); the token (16 bytes); the first 16 digits of
-- the replication id under which its item may have been written before, or as many NULs: it was not.

-- The reply, if the batch cannot be written: 'met', the places of the tokens that are in the set `key`, ';', and the places
-- of those that are not, and of whose items that proves nothing. Nothing was done.
local function met(key, tokens)
  local members, there, lost = {}, {}, {}
  for at = 1, #tokens, 34 do members[#members + 1] = string.sub(tokens, at + 2, at + 17) end
  for i, is in ipairs(call('SMISMEMBER', key, unpack(members))) do
    local since = string.sub(tokens, 34 * i - 15, 34 * i)
    if is == 1 then
      there[#there + 1] = i - 1
    elseif string.byte(since) ~= 0 and since ~= string.sub(replid, 1, 16) then
      lost[#lost + 1] = i - 1
    end
  end
  if #there + #lost == 0 then return nil end
  return 'met ' .. table.concat(there, ',') .. ';' .. table.concat(lost, ',')
end

-- Remembers the tokens, but for those of rows that were refused.
local function remember(key, tokens, refused)
  local members = {}
  for at = 1, #tokens, 34 do
    local high, low = string.byte(tokens, at, at + 1)
    if not refused[256 * high + low] then members[#members + 1] = string.sub(tokens, at + 2, at + 17) end
  end
  if #members == 0 then return end
  local added = call('SADD', key, unpack(members))
  -- A day for the requests, the hour in which they began, and an hour of slack.
  if call('SCARD', key) == added then call('PEXPIRE', key, '93600000') end
end

-- Takes back what `remember` did: of what follows it nothing was written.
local function forget(key, tokens)
  for at = 1, #tokens, 34 do call('SREM', key, string.sub(tokens, at + 2, at + 17)) end
end

-- Carries out what writes the items of a batch: `act`, with its arguments. Their tokens, if there are any, are in the set before,
-- and no longer if nothing was written.
local function with_tokens(set, tokens, act, ...)
  if not set then return act(...) end
  remember(set, tokens, {})
  local ok, problem = pcall(act, ...)
  if not ok then
    if not wrote then forget(set, tokens) end
    error(problem, 0)
  end
end

local HOUR = 3600000000
local now = server_time()
local now_text = string.format('%.0f', now)

-- The reply, if there is nothing left to do: 'duplicate', with what was refused of this batch then; 'overtaken', by a later
-- batch of this client; 'late', so that the guard may have been pruned. And when the client's last batch came, if any did.
local function known(guard, client, sequence, since)
  local last, last_at = call('HGET', guard, client), nil
  if last then
    local latest, at, refused = string.match(last, '^(%d+) (%d+) (.*)$')
    if latest == sequence then return 'duplicate ' .. refused end
    if tonumber(latest) > tonumber(sequence) then return 'overtaken' end
    last_at = at
  end
  if since ~= '0' and now - since > 12 * HOUR then return 'late' end
  -- This batch was not applied, and is not: fence.lua, if there is one, found that slots have moved.
  if moved then return moved end
  return nil, last_at
end

-- Remembers this batch and what was refused of it, before anything of it is applied.
local function record(guard, client, sequence, last_at, refused)
  if not last_at then
    local all = call('HGETALL', guard)
    for i = 1, #all, 2 do
      local at = string.match(all[i + 1], '^%d+ (%d+)')
      if now - at > 24 * HOUR then call('HDEL', guard, all[i]) end
    end
  end
  call('HSET', guard, client, sequence .. ' ' .. now_text .. ' ' .. refused)
  -- A day, and the hour in which nobody says so again.
  if not last_at or math.floor(now / HOUR) ~= math.floor(last_at / HOUR) then
    call('PEXPIRE', guard, '90000000')
  end
end
