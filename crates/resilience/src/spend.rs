//! Budgets counted in Redis for all replicas together: what was spent and what is reserved, one hash a counter, and its
//! open reservations with their leases in a sorted set beside it. One script reserves in every budget of a caller or in
//! none; another settles. The store is the truth: when Redis has lost what it knew, counters are seeded from it again.
//!
//! Invariants: all keys carry one hash tag (decision 5); spent and reserved together never exceed a limit that refuses;
//! a refused reservation writes nothing; a reservation is settled once, however often that is sent; one whose lease has
//! run out holds nothing back, and its late settlement still counts. Sums stay exact up to 2^53.
//! Source: gateway.md sections 5 and 14.

use crate::{limits::StoreAway, shared::Shared};
use redis::{Script, ScriptInvocation};
use std::time::Duration;

/// Whether counters are seeded: a number drawn at the seeding, gone when Redis lost its data.
const EPOCH: &str = "{portcullis}:budget-epoch";

/// What all scripts begin with. A settled reservation that was in no set (it was made while Redis was away or before it
/// lost its data) leaves a mark of -2, one whose lease has run out has -1.
const COMMON: &str = r"
local function number(value) return tonumber(value or '') or 0 end

local function held(counter)
  local row = redis.call('HMGET', counter, 't', 'm', 'rt', 'rm')
  return number(row[1]), number(row[2]), number(row[3]), number(row[4])
end

local function add(counter, field, by)
  if by ~= 0 then redis.call('HINCRBY', counter, field, string.format('%.0f', by)) end
end

local function release(counter, lease)
  local tokens, micros = string.match(lease, ':(%d+):(%d+)$')
  add(counter, 'rt', -number(tokens))
  add(counter, 'rm', -number(micros))
end

local function keep(key, ends)
  if ends ~= '0' then redis.call('PEXPIREAT', key, ends) end
end
";

/// Keys: the epoch, then counter and leases of each budget. Arguments: lease, tokens, micros, its life in milliseconds;
/// then per budget most tokens and micros (-1: not bounded), whether it refuses, and when its keys go (0: never).
/// Answers the epoch (0: not seeded), the refusing budget (0: none), and per budget what it holds.
const RESERVE: &str = r"
local epoch = redis.call('GET', KEYS[1])
if not epoch then return {0, 0} end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local lease, tokens, micros, life = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local answer, refused = {tonumber(epoch), 0}, 0
local count = (#KEYS - 1) / 2
for i = 1, count do
  local counter, leases = KEYS[2 * i], KEYS[2 * i + 1]
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', leases, 0, now)) do
    release(counter, old)
    redis.call('ZADD', leases, -1, old)
  end
  local t, m, rt, rm = held(counter)
  local most_t, most_m = tonumber(ARGV[4 * i + 1]), tonumber(ARGV[4 * i + 2])
  local over = (most_t >= 0 and t + rt + tokens > most_t) or (most_m >= 0 and m + rm + micros > most_m)
  if over and ARGV[4 * i + 3] == '1' and refused == 0 then refused = i end
  answer[4 * i - 1], answer[4 * i], answer[4 * i + 1], answer[4 * i + 2] = t, m, rt, rm
end
answer[2] = refused
if refused == 0 then
  for i = 1, count do
    local counter, leases, ends = KEYS[2 * i], KEYS[2 * i + 1], ARGV[4 * i + 4]
    add(counter, 'rt', tokens)
    add(counter, 'rm', micros)
    redis.call('ZADD', leases, string.format('%.0f', now + life), lease)
    keep(counter, ends)
    keep(leases, ends)
    answer[4 * i + 1] = answer[4 * i + 1] + tokens
    answer[4 * i + 2] = answer[4 * i + 2] + micros
  end
end
return answer
";

/// Keys: the epoch, then counter and leases of each row. Arguments per row: lease, the epoch it was made in, tokens and
/// micros spent, when its keys go. Answers the epoch (0: not seeded), and per row what the counter holds.
const SETTLE: &str = r"
local epoch = redis.call('GET', KEYS[1])
if not epoch then return {0} end
local answer = {tonumber(epoch)}
for i = 1, (#KEYS - 1) / 2 do
  local counter, leases = KEYS[2 * i], KEYS[2 * i + 1]
  local lease, made, ends = ARGV[5 * i - 4], ARGV[5 * i - 3], ARGV[5 * i]
  local score = redis.call('ZSCORE', leases, lease)
  local counts = false
  if score then
    counts = tonumber(score) >= -1
    if tonumber(score) >= 0 then release(counter, lease) end
    if counts then redis.call('ZREM', leases, lease) end
  elseif made ~= epoch then
    counts = true
    redis.call('ZADD', leases, -2, lease)
    keep(leases, ends)
  end
  if counts then
    add(counter, 't', tonumber(ARGV[5 * i - 2]))
    add(counter, 'm', tonumber(ARGV[5 * i - 1]))
    keep(counter, ends)
  end
  answer[4 * i - 2], answer[4 * i - 1], answer[4 * i], answer[4 * i + 1] = held(counter)
end
return answer
";

/// Keys: counters. Arguments per counter: tokens and micros that were spent at least, when the key goes.
const SEED: &str = r"
for i = 1, #KEYS do
  local t, m = held(KEYS[i])
  add(KEYS[i], 't', math.max(tonumber(ARGV[3 * i - 2]) - t, 0))
  add(KEYS[i], 'm', math.max(tonumber(ARGV[3 * i - 1]) - m, 0))
  keep(KEYS[i], ARGV[3 * i])
end
return 1
";

/// Keys: counters. Arguments per counter: tokens and micros that were spent, exactly.
const CORRECT: &str = r"
for i = 1, #KEYS do
  redis.call('HSET', KEYS[i], 't', ARGV[3 * i - 2], 'm', ARGV[3 * i - 1])
  keep(KEYS[i], ARGV[3 * i])
end
return 1
";

/// Keys: the epoch. Argument: a new one. Answers the one that holds.
const BEGIN: &str = r"
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return tonumber(redis.call('GET', KEYS[1]))
";

/// Keys: a mark. Argument: when it goes. Answers whether it is new.
const ONCE: &str = r"
if redis.call('SET', KEYS[1], '1', 'NX') then keep(KEYS[1], ARGV[1]) return 1 end
return 0
";

/// One budget of one subject in one window.
#[derive(Clone, Copy, Debug)]
pub struct SpendCounter<'a> {
    /// The budget's name.
    pub budget: &'a str,
    /// Whose.
    pub subject: &'a str,
    /// When the window began, in Unix milliseconds.
    pub start: i64,
    /// When it ends; none: never.
    pub end: Option<i64>,
}

/// The most of one budget.
#[derive(Clone, Copy, Debug)]
pub struct SpendLimit {
    /// Tokens; none: not bounded.
    pub tokens: Option<u64>,
    /// Micro-dollars; none: not bounded.
    pub micros: Option<u64>,
    /// Whether it refuses; else it only counts.
    pub refuse: bool,
}

/// What a counter holds: tokens and micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Spent.
    pub spent: [u64; 2],
    /// Reserved.
    pub reserved: [u64; 2],
}

/// A reservation by which it is found again: its id and what it reserves.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// Its id; no other has it.
    pub id: &'a str,
    /// Tokens and micro-dollars.
    pub reserved: [u64; 2],
}

/// The answer to a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpendAnswer {
    /// The epoch it was made in.
    pub epoch: u64,
    /// The place of the budget that has not enough left; then nothing was reserved.
    pub refused: Option<usize>,
    /// What each budget holds now.
    pub seen: Vec<Seen>,
}

/// One settlement of one counter.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    /// Where.
    pub counter: SpendCounter<'a>,
    /// Of which reservation.
    pub lease: Lease<'a>,
    /// The epoch it was made in; 0: while Redis was away.
    pub epoch: u64,
    /// Tokens and micro-dollars spent.
    pub spent: [u64; 2],
}

/// How long keys outlive their window, for settlements that come late.
const AFTER: i64 = 86_400_000;
/// Counters of one call when all are seeded.
const CHUNK: usize = 500;
/// Below 2^53, so that scripts count it exactly.
const EPOCHS: u64 = 1 << 52;

/// Budgets in Redis. Cheap to clone.
#[derive(Clone)]
pub struct Spend {
    shared: Shared,
    reserve: Script,
    settle: Script,
    seed: Script,
    correct: Script,
    begin: Script,
    once: Script,
}

impl Spend {
    /// Over that connection.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        let script = |body: &str| Script::new(&format!("{COMMON}{body}"));
        Self {
            shared,
            reserve: script(RESERVE),
            settle: script(SETTLE),
            seed: script(SEED),
            correct: script(CORRECT),
            begin: script(BEGIN),
            once: script(ONCE),
        }
    }

    /// Whether Redis is known to be away.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.shared.is_away()
    }

    /// Reserves in every budget or in none, for at most `life`. None: Redis has lost its data; seed it first.
    ///
    /// # Errors
    /// `StoreAway`; whether it was reserved is then not known, and the lease runs out by itself.
    pub async fn reserve(
        &self,
        lease: Lease<'_>,
        life: Duration,
        budgets: &[(SpendCounter<'_>, SpendLimit)],
    ) -> Result<Option<SpendAnswer>, StoreAway> {
        let call = reserve_call(&self.reserve, lease, life, budgets);
        let numbers: Vec<i64> = self.shared.invoke(&call).await.map_err(|_| StoreAway)?;
        read_reserve(&numbers, budgets.len())
    }

    /// Settles, in order; what each counter holds then. None: Redis has lost its data.
    ///
    /// # Errors
    /// `StoreAway`; sending the same again is then right.
    pub async fn settle(&self, rows: &[Settlement<'_>]) -> Result<Option<Vec<Seen>>, StoreAway> {
        let call = settle_call(&self.settle, rows);
        let numbers: Vec<i64> = self.shared.invoke(&call).await.map_err(|_| StoreAway)?;
        match numbers.split_first() {
            Some((0, _)) => Ok(None),
            Some((_, rest)) if rest.len() == rows.len() * 4 => {
                Ok(Some(rest.chunks_exact(4).map(seen).collect()))
            }
            Some(_) | None => Err(StoreAway),
        }
    }

    /// Has each counter hold at least that much as spent.
    ///
    /// # Errors
    /// `StoreAway`.
    pub async fn seed(&self, rows: &[(SpendCounter<'_>, [u64; 2])]) -> Result<(), StoreAway> {
        self.put(&self.seed, rows).await
    }

    /// Has each counter hold exactly that much as spent.
    ///
    /// # Errors
    /// `StoreAway`.
    pub async fn correct(&self, rows: &[(SpendCounter<'_>, [u64; 2])]) -> Result<(), StoreAway> {
        self.put(&self.correct, rows).await
    }

    async fn put(&self, script: &Script, rows: &[(SpendCounter<'_>, [u64; 2])]) -> Result<(), StoreAway> {
        for chunk in rows.chunks(CHUNK) {
            let mut call = script.prepare_invoke();
            for (counter, [tokens, micros]) in chunk {
                call.key(counter.key()).arg(tokens).arg(micros).arg(counter.goes());
            }
            self.shared.invoke::<i64>(&call).await.map_err(|_| StoreAway)?;
        }
        Ok(())
    }

    /// Says that counters are seeded; the epoch.
    ///
    /// # Errors
    /// `StoreAway`.
    pub async fn begin(&self) -> Result<u64, StoreAway> {
        let mut call = self.begin.prepare_invoke();
        call.key(EPOCH).arg(rand::random_range(1..EPOCHS));
        self.shared.invoke(&call).await.map_err(|_| StoreAway)
    }

    /// Whether this is the first to ask so in that window, of all replicas.
    ///
    /// # Errors
    /// `StoreAway`.
    pub async fn once(&self, counter: SpendCounter<'_>, what: u64) -> Result<bool, StoreAway> {
        let mut call = self.once.prepare_invoke();
        call.key(format!("{}:told:{what}", counter.key())).arg(counter.goes());
        self.shared.invoke::<i64>(&call).await.map(|new| new == 1).map_err(|_| StoreAway)
    }
}

impl SpendCounter<'_> {
    fn key(&self) -> String {
        format!("{{portcullis}}:budget:{}:{}:{}", self.budget, self.start, self.subject)
    }

    fn leases(&self) -> String {
        format!("{{portcullis}}:budget-open:{}:{}:{}", self.budget, self.start, self.subject)
    }

    /// When its keys go; 0: never.
    fn goes(&self) -> i64 {
        self.end.map_or(0, |end| end.saturating_add(AFTER))
    }
}

impl Lease<'_> {
    fn text(&self) -> String {
        let [tokens, micros] = self.reserved;
        format!("{}:{tokens}:{micros}", self.id)
    }
}

fn reserve_call<'a>(
    script: &'a Script,
    lease: Lease<'_>,
    life: Duration,
    budgets: &[(SpendCounter<'_>, SpendLimit)],
) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    let [tokens, micros] = lease.reserved;
    let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX >> 12);
    call.key(EPOCH).arg(lease.text()).arg(tokens).arg(micros).arg(life);
    for (counter, limit) in budgets {
        let most = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        call.key(counter.key()).key(counter.leases());
        call.arg(most(limit.tokens)).arg(most(limit.micros)).arg(u8::from(limit.refuse)).arg(counter.goes());
    }
    call
}

fn settle_call<'a>(script: &'a Script, rows: &[Settlement<'_>]) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    call.key(EPOCH);
    for row in rows {
        let [tokens, micros] = row.spent;
        call.key(row.counter.key()).key(row.counter.leases());
        call.arg(row.lease.text()).arg(row.epoch).arg(tokens).arg(micros).arg(row.counter.goes());
    }
    call
}

fn read_reserve(numbers: &[i64], budgets: usize) -> Result<Option<SpendAnswer>, StoreAway> {
    let [epoch, refused, rest @ ..] = numbers else { return Err(StoreAway) };
    if *epoch == 0 {
        return Ok(None);
    }
    if rest.len() != budgets * 4 {
        return Err(StoreAway);
    }
    let refused = usize::try_from(*refused).ok().and_then(|place| place.checked_sub(1));
    Ok(Some(SpendAnswer { epoch: whole(*epoch), refused, seen: rest.chunks_exact(4).map(seen).collect() }))
}

fn seen(row: &[i64]) -> Seen {
    let at = |place: usize| row.get(place).copied().map_or(0, whole);
    Seen { spent: [at(0), at(1)], reserved: [at(2), at(3)] }
}

const fn whole(number: i64) -> u64 {
    if number < 0 { 0 } else { number.unsigned_abs() }
}

#[cfg(test)]
mod tests;
