
end
local done, reply = pcall(main)
if done then return reply end
-- Redis 7 raises a table, older ones a text.
return { err = (wrote and 'PARTLY ' or 'UNTOUCHED ') .. (type(reply) == 'table' and reply.err or reply) }
