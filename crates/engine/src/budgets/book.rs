//! The counters of budgets. Pure: time comes as argument. A reservation looks at every budget of the caller, then is
//! entered in all of them or in none; its settlement puts what was spent in its place.
//!
//! Invariants: of a refusing budget never more is spent and reserved together than it allows, whatever the order of
//! reservations, settlements and releases (unless a settlement is larger than its reservation was); a refused
//! reservation changes nothing; what was reserved in one window counts in that window only, as its row in the ledger
//! does. While Redis counts, this holds what was last seen there, and what this process may spend when it is away.

use super::{
    rules::{Charge, Limit, Rule},
    window::{Calendar, Span},
};
use ahash::RandomState;
use hashbrown::HashTable;
use jiff::tz::TimeZone;
use portcullis_domain::BudgetWindow;
use smallvec::SmallVec;
use std::sync::Arc;

/// Tokens and micro-dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) tokens: u64,
    pub(crate) micros: u64,
}

impl Amount {
    pub(crate) const NOTHING: Self = Self { tokens: 0, micros: 0 };

    pub(crate) const fn plus(self, other: Self) -> Self {
        let (tokens, micros) =
            (self.tokens.saturating_add(other.tokens), self.micros.saturating_add(other.micros));
        Self { tokens, micros }
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        let (tokens, micros) =
            (self.tokens.saturating_sub(other.tokens), self.micros.saturating_sub(other.micros));
        Self { tokens, micros }
    }
}

/// One budget of one subject in one window.
#[derive(Debug)]
struct Counter {
    hash: u64,
    rule: u32,
    subject: Arc<str>,
    window: BudgetWindow,
    start: i64,
    /// As last asked with.
    limit: Limit,
    /// On top of the limit, for this window.
    raise: Amount,
    /// By this process, since Redis was last seen (all of it where there is none).
    spent: Amount,
    reserved: Amount,
    /// By all, as last seen in Redis.
    seen_spent: Amount,
    seen_reserved: Amount,
    /// Thresholds that were told.
    told: usize,
}

/// Where a reservation is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) rule: u32,
    pub(crate) subject: Arc<str>,
    pub(crate) window: BudgetWindow,
    pub(crate) span: Span,
    hash: u64,
}

pub(crate) type Entries = SmallVec<[Entry; 3]>;

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub(crate) rule: u32,
    pub(crate) subject: Arc<str>,
    /// The highest threshold, in millionths.
    pub(crate) at: u64,
    pub(crate) span: Span,
}

pub(crate) type Crossings = SmallVec<[Crossing; 1]>;

/// A counter as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rule: u32,
    pub(crate) subject: Arc<str>,
    pub(crate) span: Span,
    /// With its raise.
    pub(crate) limit: Limit,
    pub(crate) spent: Amount,
    pub(crate) reserved: Amount,
}

impl Shown {
    /// What is left, in millionths of the tighter of its limits.
    pub(crate) fn left(&self) -> u64 {
        let share =
            |limit: Option<u64>, spent: u64| limit.map(|limit| MILLION - part(spent, limit).min(MILLION));
        let both = [share(self.limit.tokens, self.spent.tokens), share(self.limit.micros, self.spent.micros)];
        both.into_iter().flatten().min().unwrap_or(MILLION)
    }
}

const MILLION: u64 = 1_000_000;

/// Millionths; all of nothing is spent.
fn part(spent: u64, limit: u64) -> u64 {
    if limit == 0 {
        return MILLION;
    }
    u64::try_from(u128::from(spent) * u128::from(MILLION) / u128::from(limit)).unwrap_or(u64::MAX)
}

/// Where a counter would be.
struct Place {
    hash: u64,
    span: Span,
}

pub(crate) struct Book {
    calendar: Calendar,
    counters: HashTable<Counter>,
    hasher: RandomState,
    most: usize,
}

/// A full book forgets this part of its counters at once.
const BATCH: usize = 16;

impl Counter {
    fn raised(&self, limit: Limit) -> Limit {
        Limit {
            tokens: limit.tokens.map(|tokens| tokens.saturating_add(self.raise.tokens)),
            micros: limit.micros.map(|micros| micros.saturating_add(self.raise.micros)),
        }
    }

    /// Whether so much more stays within the limit; with a share, within that share of what others had left.
    fn fits(&self, limit: Limit, ask: Amount, share: Option<f64>) -> bool {
        let limit = self.raised(limit);
        let own = self.spent.plus(self.reserved);
        let others = self.seen_spent.plus(self.seen_reserved);
        let within = |limit: Option<u64>, others: u64, own: u64, ask: u64| {
            let Some(limit) = limit else { return true };
            let left = shared(limit.saturating_sub(others), share);
            own.checked_add(ask).is_some_and(|sum| sum <= left)
        };
        within(limit.tokens, others.tokens, own.tokens, ask.tokens)
            && within(limit.micros, others.micros, own.micros, ask.micros)
    }

    fn shown(&self, span: Span) -> Shown {
        Shown {
            rule: self.rule,
            subject: self.subject.clone(),
            span,
            limit: self.raised(self.limit),
            spent: self.seen_spent.plus(self.spent),
            reserved: self.seen_reserved.plus(self.reserved),
        }
    }

    /// The highest threshold that was passed and not told.
    fn crossed(&mut self, alert_at: &[u64]) -> Option<u64> {
        let limit = self.raised(self.limit);
        let spent = self.seen_spent.plus(self.spent);
        let share = |limit: Option<u64>, spent: u64| limit.map_or(0, |limit| part(spent, limit));
        let used = share(limit.tokens, spent.tokens).max(share(limit.micros, spent.micros));
        let passed = alert_at.iter().take_while(|at| **at <= used).count();
        if passed <= self.told {
            return None;
        }
        self.told = passed;
        alert_at.get(passed - 1).copied()
    }

    /// Begins a new window where the old one is over.
    fn roll(&mut self, start: i64) {
        if self.start == start {
            return;
        }
        self.start = start;
        self.raise = Amount::NOTHING;
        (self.spent, self.reserved) = (Amount::NOTHING, Amount::NOTHING);
        (self.seen_spent, self.seen_reserved) = (Amount::NOTHING, Amount::NOTHING);
        self.told = 0;
    }
}

fn shared(left: u64, share: Option<f64>) -> u64 {
    match share {
        None => left,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of at most 1, rounded down: never more than there is"
        )]
        Some(share) => ((left as f64 * share) as u64).min(left),
    }
}

impl Book {
    pub(crate) fn new(zone: TimeZone, most: usize, now: i64) -> Self {
        let calendar = Calendar::new(zone, now);
        Self { calendar, counters: HashTable::new(), hasher: RandomState::new(), most }
    }

    pub(crate) fn rezone(&mut self, zone: TimeZone, most: usize) {
        self.calendar.rezone(zone);
        self.most = most;
    }

    fn place(&self, rule: u32, subject: &str, window: BudgetWindow) -> Place {
        Place { hash: self.hasher.hash_one((rule, subject)), span: self.calendar.current(window) }
    }

    fn find(&mut self, hash: u64, rule: u32, subject: &str) -> Option<&mut Counter> {
        self.counters.find_mut(hash, |counter| counter.rule == rule && *counter.subject == *subject)
    }

    /// The current windows of these charges, and the moment that counts.
    pub(crate) fn entries(&mut self, charges: &[Charge<'_>], now: i64) -> (i64, Entries) {
        let at = self.calendar.advance(now);
        let entry = |charge: &Charge<'_>| {
            let Place { hash, span } = self.place(charge.rule.id, charge.subject, charge.rule.window);
            Entry {
                rule: charge.rule.id,
                subject: charge.subject.clone(),
                window: charge.rule.window,
                span,
                hash,
            }
        };
        let entries = charges.iter().map(entry).collect();
        (at, entries)
    }

    /// Enters so much in every budget, or in none. When, and where; or the first budget that has not enough left.
    pub(crate) fn reserve(
        &mut self,
        charges: &[Charge<'_>],
        ask: Amount,
        share: Option<f64>,
        now: i64,
    ) -> Result<(i64, Entries), (usize, Span)> {
        let (at, entries) = self.entries(charges, now);
        for (index, (charge, entry)) in charges.iter().zip(&entries).enumerate() {
            if !charge.rule.refuse {
                continue;
            }
            let fits = match self.find(entry.hash, entry.rule, &entry.subject) {
                Some(counter) => {
                    counter.roll(entry.span.start);
                    counter.fits(charge.limit, ask, share)
                }
                None => fresh(entry).fits(charge.limit, ask, share),
            };
            if !fits {
                return Err((index, entry.span));
            }
        }
        for (charge, entry) in charges.iter().zip(&entries) {
            let counter = self.counter(entry);
            counter.limit = charge.limit;
            counter.reserved = counter.reserved.plus(ask);
        }
        Ok((at, entries))
    }

    /// The first refusing budget of which no token is left.
    pub(crate) fn exhausted(&mut self, charges: &[Charge<'_>], now: i64) -> Option<(usize, Span)> {
        self.calendar.advance(now);
        charges.iter().enumerate().find_map(|(index, charge)| {
            let limit = Limit { tokens: charge.limit.tokens, micros: None };
            if !charge.rule.refuse || limit.tokens.is_none() {
                return None;
            }
            let Place { hash, span } = self.place(charge.rule.id, charge.subject, charge.rule.window);
            let counter = self.find(hash, charge.rule.id, charge.subject)?;
            let spent = counter.seen_spent.plus(counter.spent).tokens;
            let over =
                counter.start == span.start && counter.raised(limit).tokens.is_some_and(|most| spent >= most);
            over.then_some((index, span))
        })
    }

    /// Puts what was spent in the place of what was reserved; thresholds passed by that.
    pub(crate) fn settle(
        &mut self,
        entries: &[Entry],
        reserved: Amount,
        spent: Amount,
        alert_at: &[u64],
    ) -> Crossings {
        let mut crossings = Crossings::new();
        for entry in entries {
            let Some(counter) = self.find(entry.hash, entry.rule, &entry.subject) else { continue };
            if counter.start != entry.span.start {
                // That window is over; the ledger knows.
                continue;
            }
            counter.reserved = counter.reserved.minus(reserved);
            counter.spent = counter.spent.plus(spent);
            crossings.extend(counter.crossed(alert_at).map(|at| entry.crossing(at)));
        }
        crossings
    }

    /// What Redis, or the ledger, says of a counter: what all have spent and reserved there.
    pub(crate) fn seen(
        &mut self,
        entry: &Entry,
        limit: Option<Limit>,
        (spent, reserved): (Amount, Amount),
        alert_at: &[u64],
    ) -> Option<Crossing> {
        if self.calendar.current(entry.window).start != entry.span.start {
            return None;
        }
        let counter = self.counter(entry);
        counter.limit = limit.unwrap_or(counter.limit);
        (counter.seen_spent, counter.seen_reserved) = (spent, reserved);
        (counter.spent, counter.reserved) = (Amount::NOTHING, Amount::NOTHING);
        counter.crossed(alert_at).map(|at| entry.crossing(at))
    }

    /// Sets what a subject has spent in the current window, as the ledger says; thresholds passed so far count as told.
    pub(crate) fn rebuild(
        &mut self,
        rule: (u32, BudgetWindow, Limit),
        subject: &Arc<str>,
        spent: Amount,
        alert_at: &[u64],
    ) {
        let (id, window, limit) = rule;
        let Place { hash, span } = self.place(id, subject, window);
        let entry = Entry { rule: id, subject: subject.clone(), window, span, hash };
        let counter = self.counter(&entry);
        counter.limit = limit;
        (counter.spent, counter.seen_spent) = (spent, Amount::NOTHING);
        counter.told = 0;
        let _told = counter.crossed(alert_at);
    }

    /// Sets by how much a budget is raised in the window that begins so.
    pub(crate) fn raise(
        &mut self,
        rule: (u32, BudgetWindow, Limit),
        subject: &Arc<str>,
        start: i64,
        by: Amount,
    ) {
        let (id, window, limit) = rule;
        let Place { hash, span } = self.place(id, subject, window);
        if span.start == start {
            let known = self.find(hash, id, subject).is_some();
            let counter = self.counter(&Entry { rule: id, subject: subject.clone(), window, span, hash });
            counter.raise = by;
            if !known {
                counter.limit = limit;
            }
        }
    }

    /// By how much a budget is raised.
    pub(crate) fn raised(&mut self, entry: &Entry) -> Amount {
        match self.find(entry.hash, entry.rule, &entry.subject) {
            Some(counter) if counter.start == entry.span.start => counter.raise,
            Some(_) | None => Amount::NOTHING,
        }
    }

    /// Whether there is a counter of it for the current window.
    pub(crate) fn knows(&mut self, rule: &Rule, subject: &str) -> bool {
        let Place { hash, span } = self.place(rule.id, subject, rule.window);
        self.find(hash, rule.id, subject).is_some_and(|counter| counter.start == span.start)
    }

    /// The windows that a moment in the past lay in.
    pub(crate) fn entries_at(&mut self, charges: &[Charge<'_>], at: i64) -> Entries {
        let (_, mut entries) = self.entries(charges, at);
        for entry in &mut entries {
            entry.span = self.calendar.at(entry.window, at);
        }
        entries
    }

    /// The current window of that kind.
    pub(crate) fn span(&mut self, window: BudgetWindow, now: i64) -> Span {
        self.calendar.advance(now);
        self.calendar.current(window)
    }

    /// Every counter whose window is not over.
    pub(crate) fn shown(&mut self, now: i64) -> Vec<Shown> {
        self.calendar.advance(now);
        let current = |counter: &&Counter| counter.start == self.calendar.current(counter.window).start;
        let shown = |counter: &Counter| counter.shown(self.calendar.current(counter.window));
        self.counters.iter().filter(current).map(shown).collect()
    }

    /// The counter of an entry, in the entry's window; made where there is none.
    fn counter(&mut self, entry: &Entry) -> &mut Counter {
        let full = self.counters.len() >= self.most;
        if full && self.find(entry.hash, entry.rule, &entry.subject).is_none() {
            self.make_room();
        }
        let is = |counter: &Counter| counter.rule == entry.rule && *counter.subject == *entry.subject;
        let counter = self
            .counters
            .entry(entry.hash, is, |counter| counter.hash)
            .or_insert_with(|| fresh(entry))
            .into_mut();
        counter.roll(entry.span.start);
        counter
    }

    /// Forgets windows that are over, then counters without reservations that are least used.
    fn make_room(&mut self) {
        let calendar = &self.calendar;
        self.counters.retain(|counter| counter.start == calendar.current(counter.window).start);
        if self.counters.len() < self.most {
            return;
        }
        let rank = |counter: &Counter| {
            let used = MILLION - counter.shown(calendar.current(counter.window)).left();
            if counter.reserved == Amount::NOTHING && counter.raise == Amount::NOTHING {
                used
            } else {
                u64::MAX
            }
        };
        let mut ranks: Vec<u64> = self.counters.iter().map(rank).collect();
        let count = (ranks.len() / BATCH).max(1);
        let border = *ranks.select_nth_unstable(count - 1).1;
        let mut left = count;
        self.counters.retain(|counter| {
            let rank = rank(counter);
            let goes = left > 0 && rank <= border && rank < u64::MAX;
            left -= usize::from(goes);
            !goes
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.counters.len()
    }
}

impl Entry {
    fn crossing(&self, at: u64) -> Crossing {
        Crossing { rule: self.rule, subject: self.subject.clone(), at, span: self.span }
    }
}

fn fresh(entry: &Entry) -> Counter {
    Counter {
        hash: entry.hash,
        rule: entry.rule,
        subject: entry.subject.clone(),
        window: entry.window,
        start: entry.span.start,
        limit: Limit::default(),
        raise: Amount::NOTHING,
        spent: Amount::NOTHING,
        reserved: Amount::NOTHING,
        seen_spent: Amount::NOTHING,
        seen_reserved: Amount::NOTHING,
        told: 0,
    }
}
