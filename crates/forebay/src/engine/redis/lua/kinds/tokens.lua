-- Token buckets. State: a tick and the level at it, in units of one token × period (u8 each). Rule: the rate in tokens per period, the
-- period in ticks, the burst in tokens, the tick in µs (u8 each). take_tokens.lua has the same inline, but for what leak.lua has.
if number == 2 then
  return {
    rule = function(text, pos, now)
      local rate, period, burst, tick, after = struct.unpack('<I8I8I8I8', text, pos)
      local ticks = (now - now % tick) / tick
      return { unit = period, rate = rate, capacity = burst * period, tick = tick, now = ticks }, after
    end,
    read = function(rule, state)
      local seen, level, allotments = leak(state, rule.now, rule.rate, rule.unit, rule.tick)
      return seen, level, rule.capacity, allotments
    end,
    -- What has leaked since does not come back.
    refund = function(rule, seen, level, _, cost, charged)
      local back = cost * rule.unit
      if charged > seen then
        back = 0
      elseif charged >= 0 then
        back = math.max(back - (seen - charged) * rule.rate, 0)
      end
      return math.max(level - back, 0)
    end,
    ends = function(rule, seen, now, span) return math.max(now, seen * rule.tick) + span, span end,
    -- Until the bucket is full, and one period more.
    expires = function(rule, seen, level, allotments)
      return (leaks_from(seen, allotments, rule.tick) + math.ceil(level / rule.rate) + rule.unit) * rule.tick
    end,
  }
end
