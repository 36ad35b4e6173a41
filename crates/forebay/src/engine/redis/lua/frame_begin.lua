-- Around every script, before its text: whether it has written anything.
--
-- A script that is refused in the middle does not undo what it wrote. Reads go through `call`, writes through `write`; what is
-- raised is answered behind UNTOUCHED if nothing was written before, else behind PARTLY.

local wrote, call = false, redis.call
local function write(...)
  local reply = call(...)
  wrote = true
  return reply
end
-- This server's time, in µs since 1970.
local function server_time()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end
-- Refuses the key at a place in KEYS, whose string is not Forebay's.
local function refuse_foreign(place) error('FOREIGN ' .. place .. ' the key holds a string of something else', 0) end
local function main()

