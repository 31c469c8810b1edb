//! When a message may leave: a pause between two of one chat, so many of a group in any minute, so many in any second
//! over all, spread over it, and of those a share that what is in no hurry may not use. Pure: `now` is passed in.
//! Invariants: a message counts from when it may leave until a second after it is known to have arrived, so no second at
//! the other side holds too many, however long each was on its way; a chat that must wait takes no room of others.
//!
//! Source: news.md section 9.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How fast a door may send.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Least time between two messages of one chat, from the end of the first to the beginning of the second.
    pub chat_interval: Duration,
    /// Most messages in any second.
    pub per_sec: u32,
    /// Those of them that scheduled messages and broadcasts may not use.
    pub reserve_per_sec: u32,
    /// Most messages of one group in any minute; none: groups are like others.
    pub group_per_min: Option<u32>,
    /// Whether a chat is a group.
    pub is_group: fn(&str) -> bool,
    /// A message that waits longer than this is told in the log.
    pub warn_delay: Duration,
}

impl Pace {
    /// Without a share for what is urgent, and with no rule for groups.
    #[must_use]
    pub const fn even(chat_interval: Duration, per_sec: u32) -> Self {
        Self {
            chat_interval,
            per_sec,
            reserve_per_sec: 0,
            group_per_min: None,
            is_group: |_| false,
            warn_delay: MINUTE,
        }
    }
}

/// Of this class and above is what may wait: scheduled messages and broadcasts.
pub(super) const PATIENT: u8 = 3;

#[derive(Debug, Default)]
struct Line {
    /// Nothing before.
    next: Option<Instant>,
    /// Messages of the last minute, of a group only.
    recent: VecDeque<Instant>,
    /// On their way: since when, and whether patient.
    open: VecDeque<(Instant, bool)>,
}

/// How many there are, and how many of them are patient.
#[derive(Debug, Default)]
struct Count {
    all: usize,
    patient: usize,
}

impl Count {
    const fn add(&mut self, patient: bool) {
        self.all += 1;
        self.patient += patient as usize;
    }

    const fn less(&mut self, patient: bool) {
        self.all = self.all.saturating_sub(1);
        self.patient = self.patient.saturating_sub(patient as usize);
    }
}

#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    lines: HashMap<String, Line>,
    /// On their way or arrived within the last second.
    count: Count,
    /// When those arrived that are not on their way any more.
    arrived: VecDeque<(Instant, bool)>,
    /// When the next one would leave if all left evenly.
    even: Option<Instant>,
    /// When chats that were told to wait may go on.
    due: BTreeSet<Instant>,
    /// When was looked for what never arrives.
    looked: Option<Instant>,
}

/// The other side counts a minute by its own clock.
const LEEWAY: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60).saturating_add(LEEWAY);
/// How far back what was sent still matters.
pub(super) const REMEMBERED: Duration = MINUTE;
/// So much of a second may leave at once after a silence; the rest is spread.
const BURST: Duration = Duration::from_millis(100);
/// What is on its way longer than this is not waited for.
const LOST: Duration = Duration::from_secs(90);
/// Chats remembered before those whose pause is over are forgotten.
const SWEEP: usize = 4096;

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            lines: HashMap::new(),
            count: Count::default(),
            arrived: VecDeque::new(),
            even: None,
            due: BTreeSet::new(),
            looked: None,
        }
    }

    const fn per_sec(&self) -> u32 {
        if self.pace.per_sec == 0 { 1 } else { self.pace.per_sec }
    }

    /// How many may leave now: urgent ones, and of them patient ones.
    pub(super) fn room(&mut self, now: Instant) -> [u32; 2] {
        while let Some((_, patient)) = self.arrived.pop_front_if(|(at, _)| *at + SECOND <= now) {
            self.count.less(patient);
        }
        if self.count.all >= self.per_sec() as usize && self.looked.is_none_or(|at| at + SECOND <= now) {
            self.looked = Some(now);
            self.forget_lost(now);
        }
        let used = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let all = self.per_sec().saturating_sub(used(self.count.all)).min(self.evenly(now));
        let share = self.per_sec().saturating_sub(self.pace.reserve_per_sec).max(1);
        [all, share.saturating_sub(used(self.count.patient)).min(all)]
    }

    /// How many may leave now so that no part of a second holds too many.
    fn evenly(&self, now: Instant) -> u32 {
        let Some(ahead) = self.even.map(|at| at.saturating_duration_since(now)) else { return u32::MAX };
        let left = BURST.saturating_sub(ahead).as_nanos() / self.gap().as_nanos().max(1);
        // One more begins where the burst ends.
        u32::try_from(left).unwrap_or(u32::MAX).saturating_add(u32::from(ahead <= BURST))
    }

    fn gap(&self) -> Duration {
        SECOND / self.per_sec()
    }

    /// When there may be something to do that was held up: a chat's pause ends, or there is room again.
    pub(super) fn wakes_at(&mut self, now: Instant) -> Option<Instant> {
        while self.due.first().is_some_and(|at| *at <= now) {
            self.due.pop_first();
        }
        let [all, patient] = self.room(now);
        let room = (all == 0 || patient == 0).then(|| self.room_at(now));
        room.into_iter().chain(self.due.first().copied()).min()
    }

    /// When there is room again, as far as that is known: what is on its way says so when it arrives.
    fn room_at(&self, now: Instant) -> Instant {
        let second = self.arrived.front().map(|(at, _)| *at + SECOND);
        let even = self.even.filter(|at| *at > now);
        // Not one by one: when the whole burst is free again.
        match (second, even) {
            (_, Some(even)) if self.count.all < self.per_sec() as usize => even,
            (Some(second), _) => second,
            (None, Some(even)) => even,
            (None, None) => now + SECOND,
        }
    }

    /// Gives out this moment to a chat (none: to something that belongs to none), or says when to ask again.
    pub(super) fn admit(&mut self, chat: Option<&str>, patient: bool, now: Instant) -> Result<(), Instant> {
        let [all, share] = self.room(now);
        if let Some(chat) = chat
            && let Some(at) = self.chat_waits(chat, now)
        {
            self.due.insert(at);
            return Err(at);
        }
        if all == 0 || patient && share == 0 {
            return Err(self.room_at(now).max(now + Duration::from_millis(1)));
        }
        self.even = Some(self.even.map_or(now, |at| at.max(now)) + self.gap());
        self.count.add(patient);
        let Some(chat) = chat else {
            self.arrived.push_back((now, patient));
            return Ok(());
        };
        self.sweep(now);
        let line = self.lines.entry(chat.to_owned()).or_default();
        line.next = Some(now + self.pace.chat_interval);
        line.open.push_back((now, patient));
        if self.pace.group_per_min.is_some() && (self.pace.is_group)(chat) {
            line.recent.push_back(now);
        }
        Ok(())
    }

    fn chat_waits(&mut self, chat: &str, now: Instant) -> Option<Instant> {
        let line = self.lines.get_mut(chat)?;
        while line.recent.front().is_some_and(|at| *at + MINUTE <= now) {
            line.recent.pop_front();
        }
        let most = self.pace.group_per_min.map_or(usize::MAX, |most| most.max(1) as usize);
        let crowded =
            (line.recent.len() >= most).then(|| line.recent.front().map(|at| *at + MINUTE)).flatten();
        line.next.into_iter().chain(crowded).max().filter(|at| *at > now)
    }

    /// A message of that chat has arrived, or will not: its pause begins.
    pub(super) fn arrived(&mut self, chat: &str, now: Instant) {
        if let Some(line) = self.lines.get_mut(chat)
            && let Some((since, patient)) = line.open.pop_front()
        {
            self.arrived.push_back((now, patient));
            // It was counted when it left.
            if let Some(at) = line.recent.iter_mut().rev().find(|at| **at == since) {
                *at = now;
            }
        }
        let interval = self.pace.chat_interval;
        self.hold(chat, now + interval);
    }

    /// Begins as if nothing had been sent; what was is recalled next.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.pace);
    }

    /// A message of that chat arrived at that moment, before it was this process's turn. From the oldest on.
    pub(super) fn recall(&mut self, chat: &str, patient: bool, at: Instant, now: Instant) {
        if at + SECOND > now {
            self.count.add(patient);
            self.arrived.push_back((at, patient));
        }
        if self.pace.group_per_min.is_some() && (self.pace.is_group)(chat) {
            self.lines.entry(chat.to_owned()).or_default().recent.push_back(at);
        }
        let until = at + self.pace.chat_interval;
        if until > now {
            self.hold(chat, until);
        }
    }

    /// Nothing for that chat before that moment.
    pub(super) fn hold(&mut self, chat: &str, until: Instant) {
        let line = self.lines.entry(chat.to_owned()).or_default();
        line.next = line.next.max(Some(until));
    }

    /// Whoever was let in and never said that it had arrived takes no room for ever.
    fn forget_lost(&mut self, now: Instant) {
        for line in self.lines.values_mut() {
            while let Some((_, patient)) = line.open.pop_front_if(|(since, _)| *since + LOST <= now) {
                self.count.less(patient);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        if self.lines.len() < SWEEP {
            return;
        }
        self.forget_lost(now);
        let is_idle = |line: &Line| {
            line.open.is_empty()
                && line.next.is_none_or(|at| at <= now)
                && line.recent.back().is_none_or(|at| *at + MINUTE <= now)
        };
        self.lines.retain(|_, line| !is_idle(line));
    }
}

#[cfg(test)]
mod tests;
