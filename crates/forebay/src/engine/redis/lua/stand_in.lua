-- Shared by the scripts of the stand-ins of a series, before their own text.
--
-- A stand-in takes the points of a partition whose host is down. Its live generation is a hash: `#gen` is its id; `#replid` the
-- replication id of the server when it began; `#ttl` how long it is kept, in ms; any other field is the start of a bucket in
-- seconds, ':' and a key, and its value a count. A frozen generation is an entry of a list: its id, a blank, and for each field
-- its length, ':', the field, the count and ','.

-- Freezes the live generation, if there is one. A server without memory refuses RPUSH as the first write of a script, and handing
-- over is what frees memory: so the first one is LREM, which needs none and finds nothing.
local function freeze(live, frozen)
  local all, meta, points = call('HGETALL', live), {}, {}
  for i = 1, #all, 2 do
    local field, value = all[i], all[i + 1]
    if string.byte(field) == 35 then
      meta[field] = value
    else
      points[#points + 1] = #field .. ':' .. field .. value .. ','
    end
  end
  if not meta['#gen'] then return end
  call('LREM', frozen, -1, '')
  write('RPUSH', frozen, meta['#gen'] .. ' ' .. table.concat(points))
  write('PEXPIRE', frozen, meta['#ttl'])
  write('UNLINK', live)
end
