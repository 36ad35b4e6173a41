-- Begins a request that is to be carried out once, or takes it over.
--
-- KEYS[1]  the request: a line 'print owner state lease hour hosts', and a text after it. The state: 'f' the first attempt
--          is under way; 'a' another one, after one that ended; 't' another one, after one that may have died; 'o' no
--          attempt is under way, and the text says what became of each line; 'd' as 'o', but of some line the last attempt
--          did not learn it; 'e' it is over, and the text is the answer. The lease: until when an attempt is left alone, µs.
-- KEYS[2]  a hash, hour since 1970 → bytes of the requests that began in it, with their tokens.
-- ARGV     [1] a hash of the request, [2] who begins it, 32 hex digits each. [3] the hosts, each as 8 hex digits for its
--          name, ':', the first 16 digits of its replication id, ','. [4] the bytes of a new request. [5] the most bytes.
--          [6] for how long the attempt is left alone, in µs.
-- Example  EVALSHA <sha> 2 forebay:once:{abc} forebay:once-bytes 0…7 018f… '0a1b2c3d:8c7f…,' 400 536870912 30000000
-- Reply    a list: 'first', 'again' or 'takeover', then the hour, the hosts, the text, and all bytes. Or 'running' and for
--          how long in µs. Or 'done' and the answer. Or 'other': another request. Or 'full' and all bytes.

assert(#KEYS == 2 and #ARGV == 6, 'once_begin: two keys and six arguments')
local print, owner, hosts = ARGV[1], ARGV[2], ARGV[3]
local HOUR, DAY = 3600000000, '86400000'
local now = server_time()
local hour = math.floor(now / HOUR)

local function text_of(number)
  return string.format('%.0f', number)
end

local all, bytes = call('HGETALL', KEYS[2]), 0
for i = 1, #all, 2 do
  if hour - all[i] > 25 then write('HDEL', KEYS[2], all[i]) else bytes = bytes + all[i + 1] end
end

local function keep(state, began, known, text, ...)
  local line = table.concat({ print, owner, state, text_of(now + ARGV[6]), began, known }, ' ')
  write('SET', KEYS[1], line .. '\n' .. text, ...)
end

local NAMES = { f = 'first', a = 'again', t = 'takeover' }
local value = call('GET', KEYS[1])
if value then
  local theirs, who, state, lease, began, known, text =
    string.match(value, '^(%x+) (%x+) (%l) (%d+) (%d+) (%S*)\n(.*)$')
  if not theirs then return { err = 'ERR the request is in a form that this version does not know' } end
  if theirs ~= print then return { 'other' } end
  if state == 'e' then return { 'done', text } end
  local ours = who == owner and NAMES[state]
  if NAMES[state] and not ours and tonumber(lease) > now then return { 'running', text_of(lease - now) } end
  if not ours then
    if state == 'o' then
      state, known = 'a', hosts
    else
      state = 't'
      -- Parts may have been sent under the ids that are known. To other hosts none was.
      for host in string.gmatch(hosts, '[^,]+,') do
        if not string.find(known, string.sub(host, 1, 9), 1, true) then known = known .. host end
      end
    end
    keep(state, began, known, text, 'KEEPTTL')
  end
  return { NAMES[state], began, known, text, text_of(bytes) }
end

bytes = bytes + ARGV[4]
if bytes > tonumber(ARGV[5]) then return { 'full', text_of(bytes - ARGV[4]) } end
local began = text_of(hour)
write('HINCRBY', KEYS[2], began, ARGV[4])
write('PEXPIRE', KEYS[2], '93600000')
keep('f', began, hosts, '', 'PX', DAY)
return { 'first', began, hosts, '', text_of(bytes) }
