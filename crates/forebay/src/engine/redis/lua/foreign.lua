-- Shared by the scripts that take, before their own text: keys that hold something of somebody else. One of these costs the
-- others of its call nothing, so it is no error: in place of its state there are eight bytes 255, and eight of its type's name.

-- The state of a key that is not there.
local EMPTY = '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'

-- What stands in place of the state of a key for which MGET found nothing that is one; nil: there is nothing. A `state` is
-- written then: GET refuses what is of another type in the same command.
local function foreign(key, state, ttl)
  if state then
    local reply = redis.pcall('SET', key, state, 'PX', ttl, 'GET')
    if type(reply) ~= 'table' or not reply.err then return nil end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then error(reply.err, 0) end
  end
  local kind = call('TYPE', key).ok
  if kind == 'none' then return nil end
  return '\255\255\255\255\255\255\255\255' .. string.sub(kind .. '\0\0\0\0\0\0\0\0', 1, 8)
end
