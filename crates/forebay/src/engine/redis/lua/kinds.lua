-- Shared by the scripts that charge limits of any kind, before the files of `kinds/`, each of which returns, for its
-- `number`, a table of these, `rule` being what the first one read:
--
--   rule(text, pos, now)                 Reads a rule: a table with at least the weight `unit` of one token; and the place behind it.
--   read(rule, state)                    The state as of now: its window or tick, what is in use, and of which capacity; the allotments that are out (nil: the window is new); what else is packed with it.
--   refund(rule, first, level, previous, cost, charged)   What is in use after a cost came back, and what else is packed with it.
--   ends(rule, first, now, span)         When an allotment that is granted now ends, and how long it counts at most.
--   expires(rule, first, level, allotments)   Until when the state must be kept, in µs since 1970.
--   in_place                             A state of the same window is changed in place, which keeps its time to live.
--
-- A limit's state, 16 bytes, is followed by its allotments, by their ends: for each the holder (16 bytes), the sequence of its
-- request, how much, and the end in µs since 1970 (u8 each).

-- A rule that does not say which window the time is in sets `other_table`, the time that decided (u8). A script that finds it set
-- after it has read its rules answers it, and does nothing: its caller asks again with the windows round that time.

local other_table

-- Reads the time that decides (i8; negative: this server's clock): the time, whether it is this server's, and the place behind it.
local function read_time(text)
  local now, after = struct.unpack('<i8', text)
  if now >= 0 then return now, false, after end
  local time = call('TIME')
  return time[1] * 1000000 + time[2], true, after
end

local function pack_state(first, level, previous)
  if previous then return struct.pack('<I8I4I4', first, level, previous) end
  return struct.pack('<I8I8', first, level)
end

-- Milliseconds until a time, for PX; under the caller's clock a minute more. Most keys of a batch have the same.
local last_expires, last_left
local function left_until(expires, now, here)
  if expires == last_expires then return last_left end
  last_expires = expires
  local left = expires - now
  if not here then left = left + 60000000 end
  last_left = string.format('%d', left / 1000 + 1)
  return last_left
end

-- `read` of a window: nothing of one that is over counts.
local function read_window(rule, state)
  local window, used = struct.unpack('<I8I8', state)
  if window < rule.index then return rule.index, 0, rule.limit end
  return window, used, rule.limit, string.sub(state, 17)
end

-- What is used of a window after a cost came back. Nothing comes back to one that is over.
local function refund_window(_, window, used, _, cost, charged)
  if charged >= 0 and charged ~= window then return used end
  return math.max(used - cost, 0)
end

local function begin_kind(number)
