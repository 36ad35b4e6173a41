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
try('TIME')
try('INFO', 'replication')
try('GET', key)
try('MGET', key)
try('EXISTS', key)
try('TYPE', key)
try('SETRANGE', key, '0', 'x')
try('BITFIELD', key, 'GET', 'u8', '0')
try('PEXPIRE', key, ARGV[1])
try('RENAME', key, key)
try('DEL', key .. ':')
try('UNLINK', key .. ':')
try('HGET', key, 'a')
try('HMGET', key, 'a')
try('HGETALL', key)
try('HEXISTS', key, 'a')
try('HLEN', key)
try('HSET', key, 'a', '1')
try('HDEL', key, 'a')
try('HINCRBY', key, 'a', '1')
try('SADD', key, 'a')
try('SREM', key, 'a')
try('SCARD', key)
try('SISMEMBER', key, 'a')
try('SMISMEMBER', key, 'a')
try('SMEMBERS', key)
try('LLEN', key)
try('LRANGE', key, '0', '0')
try('RPUSH', key, 'a')
try('LREM', key, '1', 'a')
try('ZADD', key, '1', 'a')
try('ZCARD', key)
try('ZCOUNT', key, '0', '1')
try('ZRANGE', key, '0', '0')
try('ZRANGEBYSCORE', key, '0', '1')
try('ZRANK', key, 'a')
try('ZREM', key, 'a')
try('ZREMRANGEBYSCORE', key, '0', '1')
try('ZREVRANGE', key, '0', '0')
try('ZSCORE', key, 'a')
return 'ok'
