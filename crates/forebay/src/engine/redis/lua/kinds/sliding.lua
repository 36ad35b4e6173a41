-- Sliding windows. State: a tick (u8), what is used of the window in which the tick lies, and what was used of the one before (u4
-- each). Rule: the window's length in ticks, the quota, the tick in µs (u8 each).
if number == 3 then
  return {
    rule = function(text, pos, now)
      local length, limit, tick, after = struct.unpack('<I8I8I8', text, pos)
      return { unit = 1, length = length, limit = limit, tick = tick, now = (now - now % tick) / tick }, after
    end,
    read = function(rule, state)
      local seen, used, before = struct.unpack('<I8I4I4', state)
      local now, length, allotments = rule.now, rule.length, string.sub(state, 17)
      if seen < now then
        local passed = ((now - now % length) - (seen - seen % length)) / length
        if passed == 1 then
          used, before, allotments = 0, used, ''
        elseif passed > 1 then
          used, before, allotments = 0, 0, ''
        end
        seen = now
      end
      return seen, used, rule.limit - math.ceil(before * (length - seen % length) / length), allotments, before
    end,
    -- The cost goes back to the window in which it was charged, if that still counts.
    refund = function(rule, seen, used, before, cost, charged)
      local passed, length = 0, rule.length
      if charged >= 0 then passed = ((seen - seen % length) - (charged - charged % length)) / length end
      if passed == 0 then return math.max(used - cost, 0), before end
      if passed == 1 then return used, math.max(before - cost, 0) end
      return used, before
    end,
    ends = function(rule, seen)
      return ((seen - seen % rule.length) + rule.length) * rule.tick, rule.length * rule.tick
    end,
    -- Until it counts nothing, and one window more.
    expires = function(rule, seen) return ((seen - seen % rule.length) + 3 * rule.length) * rule.tick end,
  }
end
