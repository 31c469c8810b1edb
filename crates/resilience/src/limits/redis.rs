//! Limits counted in Redis for all replicas together: one script, one round trip, the server's clock, the arithmetic
//! of `quota` to the digit. Invariants: all keys carry one hash tag, so a decision lives in one slot of a cluster;
//! every key expires by itself; a refused decision writes nothing.
//!
//! One hash tag means that one node of a cluster counts all limits: atomic decisions over several levels need that.

use super::{
    Charge, Decision, LimitStore, StoreAway, StoreFuture, decide,
    quota::{KEPT, Look, Quota, SLOTS},
};
use crate::shared::Shared;
use redis::Script;
use smallvec::SmallVec;

/// Looks at every key, then charges all or none. Numbers are whole and below 2^53, so Lua's doubles are exact.
const DECIDE: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local slots, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
local looks, states, fits = {}, {}, true
for i = 1, #KEYS do
  local base = 2 + (i - 1) * 4
  local kind, most = ARGV[base + 1], tonumber(ARGV[base + 2])
  local micros, cost = tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4])
  local remaining, wait, reset
  if kind == 'b' then
    local tat = tonumber(redis.call('GET', KEYS[i]) or '0')
    local full = micros * most
    local debt = math.min(math.max(tat - now, 0), full)
    remaining = math.floor((full - debt) / micros)
    if cost > most then wait = -1 else wait = math.max(debt + micros * cost - full, 0) end
    reset = debt % micros
    if reset == 0 and debt > 0 then reset = micros end
    states[i] = math.max(tat, now) + micros * cost
  else
    local width = micros / slots
    local slot = math.floor(now / width)
    local flat = redis.call('HGETALL', KEYS[i])
    local counts, used = {}, 0
    for f = 1, #flat, 2 do
      local at = tonumber(flat[f])
      if at > slot - kept then counts[at] = tonumber(flat[f + 1]); used = used + counts[at] end
    end
    remaining = math.max(most - used, 0)
    reset = 0
    if cost > most then wait = -1 else wait = 0 end
    local freed = 0
    for at = slot - slots, slot do
      local count = counts[at] or 0
      local leaves = (at + kept) * width - now
      if count > 0 and reset == 0 then reset = leaves end
      if wait == 0 and used - freed + cost > most then
        freed = freed + count
        if used - freed + cost <= most then wait = leaves end
      end
    end
    states[i] = slot
  end
  if wait ~= 0 then fits = false end
  looks[#looks + 1] = remaining
  looks[#looks + 1] = wait
  looks[#looks + 1] = reset
end
if fits then
  for i = 1, #KEYS do
    local base = 2 + (i - 1) * 4
    local kind, most = ARGV[base + 1], tonumber(ARGV[base + 2])
    local micros, cost = tonumber(ARGV[base + 3]), tonumber(ARGV[base + 4])
    if kind == 'b' then
      local life = math.ceil((states[i] - now) / 1000) + 1
      redis.call('SET', KEYS[i], string.format('%.0f', states[i]), 'PX', string.format('%.0f', life))
    else
      local field = string.format('%.0f', states[i])
      redis.call('HINCRBY', KEYS[i], field, cost)
      local old = {}
      for _, name in ipairs(redis.call('HKEYS', KEYS[i])) do
        if tonumber(name) <= states[i] - kept then old[#old + 1] = name end
      end
      if #old > 0 then redis.call('HDEL', KEYS[i], unpack(old)) end
      redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(micros / slots * kept / 1000) + 1))
    end
  end
end
return looks
";

/// Gives back what `DECIDE` charged, newest first.
const REFUND: &str = r"
local kept = tonumber(ARGV[1])
for i = 1, #KEYS do
  local base = 1 + (i - 1) * 3
  local kind, micros, cost = ARGV[base + 1], tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
  if kind == 'b' then
    local tat = redis.call('GET', KEYS[i])
    if tat then redis.call('SET', KEYS[i], string.format('%.0f', tonumber(tat) - micros * cost), 'KEEPTTL') end
  else
    local names = redis.call('HKEYS', KEYS[i])
    table.sort(names, function(a, b) return tonumber(a) > tonumber(b) end)
    for _, name in ipairs(names) do
      local count = tonumber(redis.call('HGET', KEYS[i], name))
      local taken = math.min(count, cost)
      if taken > 0 then redis.call('HINCRBY', KEYS[i], name, -taken); cost = cost - taken end
    end
  end
end
return 1
";

/// The store.
#[derive(Clone)]
pub struct RedisLimits {
    shared: Shared,
    decide: Script,
    refund: Script,
}

impl RedisLimits {
    /// Over that connection.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared, decide: Script::new(DECIDE), refund: Script::new(REFUND) }
    }
}

fn key(charge: &Charge<'_>) -> String {
    format!("{{portcullis}}:limit:{}:{}", charge.scope.as_str(), charge.subject)
}

/// Kind, most, microseconds.
const fn row(quota: Quota) -> (&'static str, u32, u64) {
    match quota {
        Quota::Bucket { capacity, micros_per_token } => ("b", capacity, micros_per_token),
        Quota::Window { limit, micros } => ("w", limit, micros),
    }
}

impl LimitStore for RedisLimits {
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision> {
        Box::pin(async move {
            let mut call = self.decide.prepare_invoke();
            call.arg(SLOTS).arg(KEPT);
            for charge in charges {
                let (kind, most, micros) = row(charge.quota);
                call.key(key(charge)).arg(kind).arg(most).arg(micros).arg(charge.cost);
            }
            let numbers: Vec<i64> = self.shared.invoke(&call).await.map_err(|_| StoreAway)?;
            if numbers.len() != charges.len() * 3 {
                return Err(StoreAway);
            }
            let looks: SmallVec<[Look; 6]> = numbers.chunks_exact(3).map(look).collect();
            let refused = decide::refusal(charges, &looks);
            Ok(decide::decision(charges, &looks, refused, true))
        })
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let mut call = self.refund.prepare_invoke();
            call.arg(KEPT);
            for charge in charges {
                let (kind, _, micros) = row(charge.quota);
                call.key(key(charge)).arg(kind).arg(micros).arg(charge.cost);
            }
            self.shared.invoke::<i64>(&call).await.map(drop).map_err(|_| StoreAway)
        })
    }
}

fn look(numbers: &[i64]) -> Look {
    let whole = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    Look {
        remaining: u32::try_from(numbers[0].max(0)).unwrap_or(u32::MAX),
        wait: whole(numbers[1]),
        reset: whole(numbers[2]),
    }
}
