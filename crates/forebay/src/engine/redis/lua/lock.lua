-- Shared by the scripts of locks, before their own text.

local NOBODY, FORM = string.rep('\0', 16), '<c16I8I8I8I8'
local function text(number) return string.format('%.0f', number) end

-- The packed state of a lock, the first key, as lock_claim.lua says; nil: it has none.
local function read_lock(key)
  local state = call('GET', key)
  if state and #state ~= 48 then refuse_foreign(1) end
  return state or nil
end

-- Takes a waiter out of the queue.
local function leave(queue, heard, waiter)
  write('ZREM', queue, waiter)
  write('ZREM', heard, waiter)
end
