-- Fixed windows. State: the window's index and what is used of it (u8 each). Rule: the window's length in µs, what is added to
-- the time before dividing by it, the quota (u8 each). take_window.lua has the same inline.
if number == 1 then
  return {
    in_place = true,
    rule = function(text, pos, now)
      local length, offset, limit, after = struct.unpack('<I8I8I8', text, pos)
      local index = now + offset
      index = (index - index % length) / length
      return { unit = 1, length = length, offset = offset, limit = limit, index = index }, after
    end,
    read = read_window,
    refund = refund_window,
    ends = function(rule, window) return (window + 1) * rule.length - rule.offset, rule.length end,
    expires = function(rule, window) return (window + 2) * rule.length - rule.offset end,
  }
end
