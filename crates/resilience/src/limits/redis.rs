//! Limits counted in Redis for all replicas together: one script, one round trip, the server's clock, the arithmetic
//! of `quota` to the digit. Invariants: all keys carry one hash tag, so a decision lives in one slot of a cluster;
//! every key expires by itself when its limit is at rest; a refused decision writes nothing.
//!
//! One hash tag means that one node of a cluster counts all limits: atomic decisions over several levels need that.

use super::{
    Charge, Decision, LimitStore, Receipt, StoreAway, StoreFuture, decide,
    quota::{KEPT, Look, Quota, SLOTS},
};
use crate::shared::Shared;
use redis::{Script, ScriptInvocation};
use smallvec::SmallVec;
use std::fmt::Write as _;

/// What both scripts begin with. A bucket is kept as its arrival time in decimal, a window as the number of its
/// latest slot (8 bytes) and 13 counters of 4: one value a limit, so one MGET reads all.
const COMMON: &str = r"
local SLOTS, KEPT, FORMAT, SIZE = 12, 13, '<dI4I4I4I4I4I4I4I4I4I4I4I4I4', 60

local function counts_of(value)
  if not value or #value ~= SIZE then return nil end
  local counts = {struct.unpack(FORMAT, value)}
  return table.remove(counts, 1), counts
end

local function put_counts(key, latest, counts, life)
  local value = struct.pack(FORMAT, latest, unpack(counts, 1, KEPT))
  redis.call('SET', key, value, 'PX', string.format('%.0f', life))
end
";
const _: () = assert!(SLOTS == 12 && KEPT == 13);

/// Looks at every key, then charges all or none. Per key: kind, most, microseconds, cost. Answers the time, then per
/// key what is left, the wait (-1: never) and the reset.
const DECIDE: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local held = redis.call('MGET', unpack(KEYS))
local answer, write, fits = {now}, {}, true
for i = 1, #KEYS do
  local kind, most = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
  local micros, cost = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local remaining, wait, reset
  if kind == 'b' then
    local full = micros * most
    local tat = math.min(math.max(tonumber(held[i] or '') or 0, now), now + full)
    local debt = tat - now
    remaining = math.floor((full - debt) / micros)
    if cost > most then wait = -1 else wait = math.max(micros * cost - (full - debt), 0) end
    reset = debt % micros
    if reset == 0 and debt > 0 then reset = micros end
    tat = tat + micros * cost
    write[i] = function()
      local life = math.ceil((tat - now) / 1000) + 1
      redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', string.format('%.0f', life))
    end
  else
    local width = micros / SLOTS
    local slot = math.floor(now / width)
    local latest, counts = counts_of(held[i])
    if not latest or slot >= latest + KEPT or latest >= slot + KEPT then
      latest, counts = slot, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
    end
    while latest < slot do
      latest = latest + 1
      counts[latest % KEPT + 1] = 0
    end
    local used = 0
    for at = 1, KEPT do used = used + counts[at] end
    remaining, reset = math.max(most - used, 0), 0
    if cost > most then wait = -1 else wait = 0 end
    if used > 0 then
      for at = math.max(latest - SLOTS, 0), latest do
        local count = counts[at % KEPT + 1]
        local leaves = math.max((at + KEPT) * width - now, 0)
        if count > 0 and reset == 0 then reset = leaves end
        if cost > 0 and wait == 0 and used + cost > most then
          used = used - count
          if used + cost <= most then wait = leaves end
        end
      end
    end
    write[i] = function()
      local place = latest % KEPT + 1
      counts[place] = counts[place] + cost
      put_counts(KEYS[i], latest, counts, math.ceil(((latest + KEPT) * width - now) / 1000) + 1)
    end
  end
  if wait ~= 0 then fits = false end
  if cost == 0 then write[i] = nil end
  answer[3 * i - 1], answer[3 * i], answer[3 * i + 1] = remaining, wait, reset
end
if fits then
  for i = 1, #KEYS do
    if write[i] then write[i]() end
  end
end
return answer
";

/// Gives back what `DECIDE` charged. Per key: kind, microseconds, cost; then the time of the decision.
const REFUND: &str = r"
local at = tonumber(ARGV[#ARGV])
for i = 1, #KEYS do
  local kind, micros, cost = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local held = redis.call('GET', KEYS[i])
  if held and cost > 0 then
    if kind == 'b' then
      local tat = math.max((tonumber(held) or 0) - micros * cost, 0)
      redis.call('SET', KEYS[i], string.format('%.0f', tat), 'KEEPTTL')
    else
      local slot, latest, counts = math.floor(at / (micros / SLOTS)), counts_of(held)
      local life = redis.call('PTTL', KEYS[i])
      if latest and slot <= latest and slot + KEPT > latest and life > 0 then
        local place = slot % KEPT + 1
        counts[place] = math.max(counts[place] - cost, 0)
        put_counts(KEYS[i], latest, counts, life)
      end
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
        Self { shared, decide: script(DECIDE), refund: script(REFUND) }
    }
}

fn script(body: &str) -> Script {
    Script::new(&format!("{COMMON}{body}"))
}

/// The kind and a window's length belong to the name: when a limit's form is changed at run time, what was counted
/// in another form is left to expire.
fn key(charge: &Charge<'_>) -> String {
    let (scope, subject) = (charge.scope.as_str(), charge.subject);
    let mut key = String::with_capacity(48 + subject.len());
    let written = match charge.quota {
        Quota::Bucket { .. } => write!(key, "{{portcullis}}:limit:{scope}:b:{subject}"),
        Quota::Window { micros, .. } => write!(key, "{{portcullis}}:limit:{scope}:w{micros}:{subject}"),
    };
    debug_assert!(written.is_ok(), "strings take everything");
    key
}

/// Kind, most, microseconds.
const fn row(quota: Quota) -> (&'static str, u32, u64) {
    match quota {
        Quota::Bucket { capacity, micros_per_token } => ("b", capacity, micros_per_token),
        Quota::Window { limit, micros } => ("w", limit, micros),
    }
}

fn decide_call<'a>(script: &'a Script, charges: &[Charge<'_>]) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for charge in charges {
        let (kind, most, micros) = row(charge.quota);
        call.key(key(charge)).arg(kind).arg(most).arg(micros).arg(charge.cost);
    }
    call
}

fn refund_call<'a>(script: &'a Script, charges: &[Charge<'_>], at: u64) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    for charge in charges {
        let (kind, _, micros) = row(charge.quota);
        call.key(key(charge)).arg(kind).arg(micros).arg(charge.cost);
    }
    call.arg(at);
    call
}

/// Reads the answer of `DECIDE`.
fn read(charges: &[Charge<'_>], numbers: &[i64]) -> Option<Decision> {
    // Negative means never.
    let whole = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    let look = |numbers: &[i64]| Look {
        remaining: u32::try_from(numbers[0].max(0)).unwrap_or(u32::MAX),
        wait: whole(numbers[1]),
        reset: whole(numbers[2]),
    };
    let (at, numbers) = numbers.split_first()?;
    if numbers.len() != charges.len() * 3 {
        return None;
    }
    let looks: SmallVec<[Look; 6]> = numbers.chunks_exact(3).map(look).collect();
    let refused = decide::refusal(charges, looks.iter().copied());
    let receipt = Receipt { shared: true, at: whole(*at) };
    Some(decide::decision(charges, looks.into_iter(), refused, receipt))
}

impl LimitStore for RedisLimits {
    fn decide<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, Decision> {
        Box::pin(async move {
            if charges.is_empty() {
                // MGET wants a key; nothing is asked where nothing is limited.
                return Ok(decide::decision(charges, [].into_iter(), None, Receipt { shared: true, at: 0 }));
            }
            let call = decide_call(&self.decide, charges);
            let numbers: Vec<i64> = self.shared.invoke(&call).await.map_err(|_| StoreAway)?;
            read(charges, &numbers).ok_or(StoreAway)
        })
    }

    fn refund<'a>(&'a self, charges: &'a [Charge<'a>], receipt: Receipt) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            let call = refund_call(&self.refund, charges, receipt.at);
            self.shared.invoke::<i64>(&call).await.map(drop).map_err(|_| StoreAway)
        })
    }

    fn clear<'a>(&'a self, charges: &'a [Charge<'a>]) -> StoreFuture<'a, ()> {
        Box::pin(async move {
            for charge in charges {
                self.shared.delete(&key(charge)).await.map_err(|_| StoreAway)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
