-- Writes a little, and tries every command that the other scripts use: a server that refuses one shows it here.
--
-- KEYS[1]  a string that is there for this alone.
-- ARGV[1]  how long it is kept, in ms.
-- Example  EVALSHA <sha> 1 forebay:probe 60000
-- Reply    'ok', or an error: the first refusal.

assert(#KEYS == 1 and #ARGV == 1, 'probe: one key and one argument')
local key = KEYS[1]
write('SET', key, '', 'PX', ARGV[1])

-- A right is looked at before the type: what a user may do fails for the type of the key, or changes nothing in it.
local function try(...)
  local reply = redis.pcall(...)
  local text = type(reply) == 'table' and reply.err
  if text and not string.find(text, 'WRONGTYPE', 1, true) then error(text .. ' (' .. (...) .. ')', 0) end
end
-- Several commands with the same arguments.
local function each(arguments, ...)
  for _, command in ipairs({ ... }) do try(command, unpack(arguments)) end
end
try('TIME')
try('INFO', 'replication')
each({ key }, 'GET', 'MGET', 'EXISTS', 'TYPE', 'HGETALL', 'HLEN', 'SCARD', 'SMEMBERS', 'LLEN', 'ZCARD')
each({ key .. ':' }, 'DEL', 'UNLINK')
each({ key, 'a' }, 'HGET', 'HMGET', 'HEXISTS', 'HDEL', 'SADD', 'SREM', 'SISMEMBER', 'SMISMEMBER', 'RPUSH', 'PFADD')
each({ key, 'a' }, 'ZRANK', 'ZREM', 'ZSCORE')
each({ key, 'a', '1' }, 'HSET', 'HINCRBY')
try('HSCAN', key, '0')
each({ key, '0', '1' }, 'GETRANGE', 'LRANGE', 'ZCOUNT', 'ZRANGE', 'ZREVRANGE', 'ZRANGEBYSCORE', 'ZREMRANGEBYSCORE')
each({ key, '1', 'a' }, 'LREM', 'ZADD')
try('SETRANGE', key, '0', 'x')
try('BITFIELD', key, 'GET', 'u8', '0')
try('PEXPIRE', key, ARGV[1])
try('RENAME', key, key)
return 'ok'
