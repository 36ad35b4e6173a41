error('a limit of an unknown kind, number ' .. number, 0)
end

-- Reads the number of a kind and a rule of it: the kind, the rule, and the place behind it.
local begun = {}
local function read_rule(text, pos, now)
  local number = string.byte(text, pos)
  local kind = begun[number]
  if not kind then
    kind = begin_kind(number)
    begun[number] = kind
  end
  local rule
  rule, pos = kind.rule(text, pos + 1, now)
  return kind, rule, pos
end
