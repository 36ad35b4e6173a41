-- Writes keys that were read on another host, if that is still up to the caller.
--
-- KEYS[1]  the mark of the resharder that moves keys to this host. The others: the keys to write; what they hold is replaced.
-- ARGV[1]  the caller's mark. Then for each key a letter, the ms that it lives (0: for ever), and its value: 's' a string; 'm' a
--          sorted set, packed, little endian: of each member the score (f64), the length (u4), the member; 'd' as DUMP answered.
-- Example  EVAL <text> 2 forebay:cluster:import user:1 <mark> s 0 Ada
-- Reply    'stale' and the mark that is there ('': none): nothing was written. Or 'written', the places among the keys to write,
--          from 1, of the values that this server does not understand, and if there are any, last the version that it does.

assert(#KEYS >= 2 and #ARGV == 3 * #KEYS - 2, 'transfer_restore: two or more keys, a mark, three arguments for each other one')
local read = struct.unpack
local there = call('GET', KEYS[1]) or ''
if there ~= ARGV[1] then return { 'stale', there } end

local function write_members(key, value)
  write('DEL', key)
  local at = 1
  while at <= #value do
    local pairs_of = {}
    while at <= #value and #pairs_of < 2000 do
      local score, length
      score, length, at = read('<dI4', value, at)
      pairs_of[#pairs_of + 1] = string.format('%.17g', score)
      pairs_of[#pairs_of + 1] = string.sub(value, at, at + length - 1)
      at = at + length
    end
    write('ZADD', key, unpack(pairs_of))
  end
end

local reply = { 'written' }
for i = 2, #KEYS do
  local key, form, life, value = KEYS[i], ARGV[3 * i - 4], ARGV[3 * i - 3], ARGV[3 * i - 2]
  if form == 'd' then
    local answer = redis.pcall('RESTORE', key, life, value, 'REPLACE')
    if not answer.err then
      wrote = true
    elseif string.find(answer.err, 'DUMP payload version', 1, true) then
      reply[#reply + 1] = i - 1
    else
      error(answer.err, 0)
    end
  elseif form == 'm' then
    write_members(key, value)
    if life ~= '0' then write('PEXPIRE', key, life) end
  elseif life == '0' then
    write('SET', key, value)
  else
    write('SET', key, value, 'PX', life)
  end
end
if #reply > 1 then
  -- A value ends with its version and eight bytes more.
  local own = call('DUMP', KEYS[1])
  reply[#reply + 1] = read('<I2', own, #own - 9)
end
return reply
