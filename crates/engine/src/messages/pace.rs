//! When a message may leave: a pause between two of one chat, and so many in any second over all. Pure: `now` is
//! passed in. Invariant: a moment that was given out counts, whether the message left or not.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// How fast a door may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Least time between two messages of one chat.
    pub chat_interval: Duration,
    /// Most messages in any second.
    pub per_sec: u32,
}

#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    last: HashMap<String, Instant>,
    /// Moments given out, the last `per_sec` of them.
    recent: VecDeque<Instant>,
}

const SECOND: Duration = Duration::from_secs(1);
/// Chats remembered before those whose pause is over are forgotten.
const SWEEP: usize = 1024;

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, last: HashMap::new(), recent: VecDeque::new() }
    }

    /// The moment at which the next message of that chat may leave; it is given out with that.
    pub(super) fn next(&mut self, chat: &str, now: Instant) -> Instant {
        if self.last.len() >= SWEEP {
            let pause = self.pace.chat_interval;
            self.last.retain(|_, at| *at + pause > now);
        }
        let mut at = self.last.get(chat).map_or(now, |last| (*last + self.pace.chat_interval).max(now));
        let places = usize::try_from(self.pace.per_sec.max(1)).unwrap_or(usize::MAX);
        if self.recent.len() >= places {
            let oldest = self.recent.pop_front().unwrap_or(now);
            at = at.max(oldest + SECOND);
        }
        // In order, so that the front is the oldest.
        let at = self.recent.back().map_or(at, |newest| at.max(*newest));
        self.recent.push_back(at);
        self.last.insert(chat.to_owned(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_second_holds_too_many_and_no_chat_is_too_fast(
            calls in prop::collection::vec((0..4_u8, 0..700_u64), 1..60), per_sec in 1..6_u32,
        ) {
            let pace = Pace { chat_interval: Duration::from_millis(800), per_sec };
            let (mut pacer, mut now, mut given) = (Pacer::new(pace), Instant::now(), Vec::new());
            for (chat, gap) in calls {
                now += Duration::from_millis(gap);
                let at = pacer.next(&chat.to_string(), now);
                prop_assert!(at >= now);
                given.push((chat, at));
            }
            for (index, (chat, at)) in given.iter().enumerate() {
                let within = given.iter().filter(|(_, other)| *other >= *at && *other < *at + SECOND).count();
                prop_assert!(within <= usize::try_from(per_sec).unwrap());
                let same = given[..index].iter().rfind(|(other, _)| other == chat);
                prop_assert!(same.is_none_or(|(_, last)| *at >= *last + pace.chat_interval));
            }
        }
    }
}
