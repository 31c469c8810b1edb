//! Strangers at the door: how often one may be compared with the passphrase, and when their number is worth an alert.
//! Pure: `now` is passed in. Invariant: memory is bounded however many come.
//!
//! Source: ask.md section 3.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// Messages of one guest in an hour before it is not compared any more.
const COMPARED: usize = 5;
/// Messages of one guest in a minute before they are dropped unkept.
const FLOOD: usize = 20;
/// Messages of all guests in an hour before it is told.
const ALARM: usize = 100;
/// Guests remembered.
const GUESTS: usize = 10_000;

#[derive(Debug, Default)]
struct Guest {
    recent: VecDeque<Instant>,
    ignored_until: Option<Instant>,
}

/// Strangers who wrote lately.
#[derive(Debug, Default)]
pub(super) struct Guests {
    guests: HashMap<String, Guest>,
    all: VecDeque<Instant>,
}

impl Guests {
    /// Whether a guest writes so much that nothing of it is kept.
    pub(super) fn floods(&self, who: &str, now: Instant) -> bool {
        let recent =
            |guest: &Guest| guest.recent.iter().filter(|at| now.duration_since(**at) < MINUTE).count();
        self.guests.get(who).is_some_and(|guest| recent(guest) >= FLOOD)
    }

    /// Counts a message of a guest; true when there were so many of all that it is worth an alert.
    pub(super) fn wrote(&mut self, who: &str, now: Instant) -> bool {
        if self.guests.len() >= GUESTS && !self.guests.contains_key(who) {
            self.guests.retain(|_, guest| {
                guest.ignored_until.is_some_and(|until| until > now)
                    || guest.recent.back().is_some_and(|at| now.duration_since(*at) < HOUR)
            });
        }
        if self.guests.len() < GUESTS || self.guests.contains_key(who) {
            let guest = self.guests.entry(who.to_owned()).or_default();
            push(&mut guest.recent, now, FLOOD + 1);
            if guest.recent.len() > COMPARED {
                guest.ignored_until.get_or_insert(now + HOUR);
            }
        }
        push(&mut self.all, now, ALARM + 1);
        self.all.len() > ALARM
    }

    /// Whether what a guest wrote is compared with the passphrase.
    pub(super) fn is_compared(&mut self, who: &str, now: Instant) -> bool {
        let Some(guest) = self.guests.get_mut(who) else {
            // Remembered if there was room: without it nobody is compared, so that a crowd is no way to guess.
            return self.guests.len() < GUESTS;
        };
        if guest.ignored_until.is_some_and(|until| until <= now) {
            *guest = Guest::default();
        }
        guest.ignored_until.is_none()
    }

    /// Somebody is a guest no more.
    pub(super) fn forget(&mut self, who: &str) {
        self.guests.remove(who);
    }
}

/// Adds a moment, forgets those of more than an hour ago, keeps the newest `most`.
fn push(recent: &mut VecDeque<Instant>, now: Instant, most: usize) {
    recent.push_back(now);
    while recent.len() > most || recent.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
        recent.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_message_of_an_hour_is_not_compared_and_an_hour_later_one_is() {
        let (mut guests, start) = (Guests::default(), Instant::now());
        for index in 0..5 {
            guests.wrote("ann", start + MINUTE * index);
            assert!(guests.is_compared("ann", start + MINUTE * index));
        }
        let sixth = start + MINUTE * 5;
        guests.wrote("ann", sixth);
        assert!(!guests.is_compared("ann", sixth));
        guests.wrote("ann", sixth + HOUR - MINUTE);
        assert!(!guests.is_compared("ann", sixth + HOUR - MINUTE), "more guesses do not help");
        assert!(guests.is_compared("ann", sixth + HOUR));
        assert!(guests.is_compared("bob", sixth), "others are not touched");
        guests.wrote("bob", sixth);
        assert!(guests.is_compared("bob", sixth));
    }

    #[test]
    fn a_flood_is_dropped_for_its_minute_and_a_crowd_is_told() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        for _ in 0..20 {
            assert!(!guests.floods("ann", now));
            guests.wrote("ann", now);
        }
        assert!(guests.floods("ann", now));
        assert!(!guests.floods("ann", now + MINUTE));
        let told: Vec<_> = (0..81).map(|index| guests.wrote(&format!("guest {index}"), now)).collect();
        assert_eq!(told.iter().position(|told| *told), Some(80), "the 101st of the hour");
    }

    #[test]
    fn memory_is_bounded_and_a_crowd_is_no_way_to_guess() {
        let (mut guests, now) = (Guests::default(), Instant::now());
        for index in 0..GUESTS + 50 {
            guests.wrote(&index.to_string(), now);
        }
        assert_eq!(guests.guests.len(), GUESTS);
        assert!(!guests.is_compared("one more", now));
        guests.wrote("later", now + HOUR * 2);
        assert_eq!(guests.guests.len(), 1);
    }
}
