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
local function main()

