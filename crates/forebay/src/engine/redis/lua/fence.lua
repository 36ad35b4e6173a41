-- Before every script on a host whose slots can move: see fence.rs. The last argument is the epoch of the table by which the
-- caller found this host.

local moved = nil
local function look_at_fence()
  local epoch, fence = table.remove(ARGV), redis.call('GET', '$FENCE')
  if not fence or fence == epoch then return end
  local digits, tracks = string.match(fence, '^(%d+)(%+?)$')
  if not digits or tonumber(digits) > tonumber(epoch) then
    moved = { err = 'FENCED slots have moved, by the table of epoch ' .. (digits or fence) }
  elseif tracks == '+' and $TRACKED then
    local added = redis.call('SADD', '$TOUCHED', unpack(KEYS))
    -- For a minute after the resharder has died, which renews this.
    if redis.call('SCARD', '$TOUCHED') == added then redis.call('PEXPIRE', '$TOUCHED', '60000') end
  end
end
look_at_fence()

