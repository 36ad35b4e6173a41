-- A series of different elements, before the script that merges into summaries: a summary is a HyperLogLog of the server's.
--
-- What is merged into it: for each element its length in bytes (u2, big endian) and its bytes.

local TYPE = 'string'

-- Whether a string is one.
local function is_ours(key) return call('GETRANGE', key, '0', '3') == 'HYLL' end

-- Adds elements, of which the stack takes a few thousand at once. Answers whether a bucket is new, given that the key is.
local function merge(key, text, is_new)
  local at, elements = 1, {}
  while at <= #text do
    local length = struct.unpack('>I2', text, at)
    elements[#elements + 1] = string.sub(text, at + 2, at + 1 + length)
    at = at + 2 + length
    if #elements == 4000 or at > #text then
      write('PFADD', key, unpack(elements))
      elements = {}
    end
  end
  return is_new
end

