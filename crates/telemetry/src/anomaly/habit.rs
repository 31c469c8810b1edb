//! What is known of one caller, in 204 bytes, and what of a message does not fit it. Pure: time comes as argument.
//!
//! * Length: robust z-score of its logarithm over the caller's own messages (`lengths`), widened while few are known.
//! * Burst: more than `burst` messages within 60 s, counted in slots of 10 s so that never more than 60 s are counted;
//!   and three times what this caller does in an ordinary busy minute, once ten of those are known.
//! * Hours: a histogram of the hours of the day in which the caller was active, each hour of each day once, on a flat
//!   prior of half an hour in each. After 50 active hours an hour is strange when it and its neighbours hold nothing but
//!   the prior; a caller's habit counts from then on, the configured hours before. By missing mass (Good 1953) a steady
//!   caller meets each such hour about once.
//! * Refusals in a row.
//! * Networks: the last eight from which a key was used.
//!
//! Invariant: a kind is told once in its quiet time, so that a caller who has changed is told, not repeated.

use super::{Found, Kind, Seen, lengths::Lengths};

/// Messages before lengths mean anything.
const MIN_LENGTHS: u16 = 10;
/// Active hours before they are a habit.
const MIN_HOURS: u16 = 50;
/// Busy minutes before a rate is a habit.
const MIN_MINUTES: u8 = 10;
/// A burst is that many times an ordinary busy minute.
const BURST_FACTOR: f32 = 3.0;
/// Busy minutes over which the ordinary one is averaged.
const MINUTES: f32 = 30.0;
/// Messages before another network is a new one.
const MIN_SEEN: u16 = 10;
/// How long strange hours are told once, in seconds: a night.
const NIGHT: u32 = 12 * 3_600;
/// Seconds of a slot of the rate.
const SLOT_SECS: u32 = 10;
const SLOTS: usize = 6;
const NETWORKS: usize = 8;

/// What counts as strange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) z: f32,
    pub(super) burst: u16,
    /// From this hour to before that one; the same twice: every hour.
    pub(super) hours: (u8, u8),
    pub(super) refusals: u8,
    pub(super) quiet_secs: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Habit {
    lengths: Lengths,
    /// Days on which the caller was active in that hour, fading.
    hours: [u8; 24],
    active_hours: u16,
    /// The hour since the epoch, local, that was last counted.
    hour: u32,
    slots: [u16; SLOTS],
    slot: u32,
    minute: u32,
    in_minute: u16,
    busy_minutes: u8,
    /// Messages of an ordinary busy minute.
    ordinary: f32,
    refused: u8,
    networks: [u16; NETWORKS],
    newest_network: u8,
    seen: u16,
    /// When each kind was told, in seconds since the epoch.
    told: [u32; Kind::ALL.len()],
}

impl Habit {
    pub(super) const fn new() -> Self {
        Self {
            lengths: Lengths::new(),
            hours: [0; 24],
            active_hours: 0,
            hour: 0,
            slots: [0; SLOTS],
            slot: 0,
            minute: 0,
            in_minute: 0,
            busy_minutes: 0,
            ordinary: 0.0,
            refused: 0,
            networks: [0; NETWORKS],
            newest_network: 0,
            seen: 0,
            told: [0; Kind::ALL.len()],
        }
    }

    /// Takes in one message at `now` (seconds since the epoch) in that local hour since the epoch; what does not fit.
    pub(super) fn observe(&mut self, rules: &Rules, seen: &Seen<'_>, now: u32, hour: u32) -> Found {
        let mut found = Found { first: self.seen == 0, ..Found::default() };
        if let Some(length) = seen.length {
            found.z = self.length(length);
            let long = found.z > rules.z;
            self.tell(&mut found, Kind::Length, long, now, rules.quiet_secs);
            found.rate = self.rate(now);
            let burst = found.rate > rules.burst && f32::from(found.rate) > self.busy();
            self.tell(&mut found, Kind::Burst, burst, now, rules.quiet_secs);
            found.hour = (hour % 24) as u8;
            let strange = hour != self.hour && self.off_hours(rules, found.hour);
            self.tell(&mut found, Kind::Hours, strange, now, NIGHT);
            self.active(hour);
        }
        match seen.refused {
            Some(true) => self.refused = self.refused.saturating_add(1),
            Some(false) => self.refused = 0,
            None => {}
        }
        let row = seen.refused == Some(true) && self.refused >= rules.refusals;
        self.tell(&mut found, Kind::Refusals, row, now, rules.quiet_secs);
        if let Some(network) = seen.network {
            let new = self.network(network) && self.seen >= MIN_SEEN;
            self.tell(&mut found, Kind::Network, new, now, rules.quiet_secs);
        }
        self.seen = self.seen.saturating_add(1);
        found
    }

    fn tell(&mut self, found: &mut Found, kind: Kind, strange: bool, now: u32, quiet: u32) {
        let told = &mut self.told[kind as usize];
        if strange && (*told == 0 || now.saturating_sub(*told) >= quiet) {
            *told = now;
            found.kinds |= 1 << kind as u8;
        }
    }

    /// How strange a length is; then it is one of those that are known.
    fn length(&mut self, length: u32) -> f32 {
        let known = self.lengths.total();
        let z = if known < MIN_LENGTHS {
            0.0
        } else {
            // The MAD of few is often far too small: at ten messages three deviations are taken for six.
            self.lengths.z(length) / (1.0 + 10.0 / f32::from(known))
        };
        self.lengths.add(length);
        z
    }

    /// Messages within the last 60 s, this one included; never counts more than those.
    fn rate(&mut self, now: u32) -> u16 {
        let slot = now / SLOT_SECS;
        let passed = slot.saturating_sub(self.slot).min(SLOTS as u32);
        for step in 1..=passed {
            self.slots[((self.slot + step) as usize) % SLOTS] = 0;
        }
        // A message that comes late counts where the newest do.
        if passed == SLOTS as u32 {
            self.slots = [0; SLOTS];
        }
        self.slot = self.slot.max(slot);
        let here = &mut self.slots[self.slot as usize % SLOTS];
        *here = here.saturating_add(1);
        let minute = now / 60;
        if minute != self.minute {
            if self.in_minute > 0 {
                self.busy_minutes = self.busy_minutes.saturating_add(1);
                let weight = f32::from(self.busy_minutes).min(MINUTES);
                self.ordinary += (f32::from(self.in_minute) - self.ordinary) / weight;
            }
            (self.minute, self.in_minute) = (minute, 0);
        }
        self.in_minute = self.in_minute.saturating_add(1);
        self.slots.iter().fold(0, |sum: u16, slot| sum.saturating_add(*slot))
    }

    /// Above which rate this caller is busier than it ever ordinarily is.
    fn busy(&self) -> f32 {
        if self.busy_minutes < MIN_MINUTES { 0.0 } else { BURST_FACTOR * self.ordinary }
    }

    fn off_hours(&self, rules: &Rules, hour: u8) -> bool {
        if self.active_hours < MIN_HOURS {
            let (from, to) = rules.hours;
            return match from.cmp(&to) {
                std::cmp::Ordering::Less => hour < from || hour >= to,
                std::cmp::Ordering::Greater => hour < from && hour >= to,
                std::cmp::Ordering::Equal => false,
            };
        }
        let hour = usize::from(hour);
        [hour + 23, hour, hour + 1].iter().all(|hour| self.hours[hour % 24] == 0)
    }

    fn active(&mut self, hour: u32) {
        if hour == self.hour {
            return;
        }
        self.hour = hour;
        let count = &mut self.hours[hour as usize % 24];
        *count += 1;
        self.active_hours = self.active_hours.saturating_add(1);
        if *count == u8::MAX {
            self.hours.iter_mut().for_each(|count| *count /= 2);
            self.active_hours = self.hours.iter().copied().map(u16::from).sum();
        }
    }

    /// Whether that network is none of those that are known; then it is.
    fn network(&mut self, network: u16) -> bool {
        // Zero stands for none.
        let network = network.max(1);
        if self.networks.contains(&network) {
            return false;
        }
        self.newest_network = (self.newest_network + 1) % NETWORKS as u8;
        self.networks[usize::from(self.newest_network)] = network;
        true
    }
}
