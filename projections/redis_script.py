"""The script by which Redis takes rows and positions together: all of it, or nothing. Text only.

Redis runs a script as one transaction, and refuses it whole where memory is out or it may not
write (https://redis.io/docs/latest/develop/programmability/eval-intro/).
"""

from __future__ import annotations

from typing import Final

APPLY: Final = """
local places = #KEYS
for i = 1, places do
  if (redis.call('GET', KEYS[i]) or '') ~= ARGV[i] then return 0 end
end
local at = 2 * places + 1
local samples = tonumber(ARGV[at])
at = at + 1
for _ = 1, samples do
  local key, at_ms = ARGV[at], ARGV[at + 1]
  local known = redis.call('HGET', key, 'at_ms')
  if not known or tonumber(known) < tonumber(at_ms) then
    redis.call('HSET', key, 'at_ms', at_ms, 'value', ARGV[at + 2], 'type', ARGV[at + 3],
      'unit', ARGV[at + 4])
    redis.call('PEXPIREAT', key, ARGV[at + 5])
  end
  at = at + 6
end
while at <= #ARGV do
  local size = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + size))
  at = at + size + 1
end
for i = 1, places do
  redis.call('SET', KEYS[i], ARGV[places + i])
end
return 1
"""
"""KEYS: where positions lie. ARGV: for each the text that must be there ("" for none), for each the
text that is to be there; the number of samples; of each its key, time, value, type, unit and when
it expires (Unix ms): of one key the newest stays, of two with the same time the first. Then
commands: the number of words, and the words. 0: another process moved a position; nothing was
done."""
