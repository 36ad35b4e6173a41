-- Calendar windows. State: the window's ordinal and what is used of it (u8 each). Rule: the quota, and three windows, one after the
-- other: of each the ordinal, and when it starts and ends in µs since 1970 (u8 each). A server has no time zones, so that its caller
-- says when windows start; at a time in none of them it answers `other_table`, see kinds.lua.
if number == 4 then
  -- When the window of a state starts and ends. Of one that is not in the table: the last one before it.
  local function span(rule, window)
    local start, stop = rule[1].start, rule[1].stop
    for i = 2, 3 do
      if rule[i].ordinal <= window then start, stop = rule[i].start, rule[i].stop end
    end
    return start, stop
  end
  return {
    in_place = true,
    rule = function(text, pos, now)
      local rule = { unit = 1 }
      rule.limit, pos = struct.unpack('<I8', text, pos)
      for i = 1, 3 do
        local ordinal, start, stop
        ordinal, start, stop, pos = struct.unpack('<I8I8I8', text, pos)
        rule[i] = { ordinal = ordinal, start = start, stop = stop }
        if start <= now and now < stop then rule.index = ordinal end
      end
      if not rule.index then other_table = struct.pack('<I8', now) end
      return rule, pos
    end,
    read = read_window,
    refund = refund_window,
    ends = function(rule, window)
      local start, stop = span(rule, window)
      return stop, stop - start
    end,
    expires = function(rule, window)
      local start, stop = span(rule, window)
      return stop + (stop - start)
    end,
  }
end
