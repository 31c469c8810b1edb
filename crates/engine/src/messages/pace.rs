//! When a message may leave: a pause between two of one chat, so many of a group in any minute, so many in any second
//! over all, and of those a share that what is in no hurry may not use. Pure: `now` is passed in. Invariants: a moment
//! that was given out counts, whether the message left or not; a chat that must wait takes no room of others.
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
}

#[derive(Debug)]
pub(super) struct Pacer {
    pace: Pace,
    lines: HashMap<String, Line>,
    /// Moments given out within the last second, and whether each was for something patient.
    recent: VecDeque<(Instant, bool)>,
    /// When chats that were told to wait may go on.
    due: BTreeSet<Instant>,
}

/// The other side counts arrivals, which are less even than departures.
const LEEWAY: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_millis(1_000).saturating_add(LEEWAY);
const MINUTE: Duration = Duration::from_secs(60).saturating_add(LEEWAY);
/// Chats remembered before those whose pause is over are forgotten.
const SWEEP: usize = 4096;

impl Pacer {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, lines: HashMap::new(), recent: VecDeque::new(), due: BTreeSet::new() }
    }

    /// How many may leave now: urgent ones, and of them patient ones.
    pub(super) fn room(&mut self, now: Instant) -> [u32; 2] {
        while self.recent.front().is_some_and(|(at, _)| *at + SECOND <= now) {
            self.recent.pop_front();
        }
        let count = |patient_only: bool| {
            let used = self.recent.iter().filter(|(_, patient)| *patient || !patient_only).count();
            u32::try_from(used).unwrap_or(u32::MAX)
        };
        let all = self.pace.per_sec.max(1).saturating_sub(count(false));
        let share = self.pace.per_sec.saturating_sub(self.pace.reserve_per_sec).max(1);
        [all, share.saturating_sub(count(true)).min(all)]
    }

    /// When there may be something to do that was held up: a chat's pause ends, or there is room again.
    pub(super) fn wakes_at(&mut self, now: Instant) -> Option<Instant> {
        while self.due.first().is_some_and(|at| *at <= now) {
            self.due.pop_first();
        }
        let [all, patient] = self.room(now);
        let room = self.recent.front().filter(|_| all == 0 || patient == 0).map(|(at, _)| *at + SECOND);
        room.into_iter().chain(self.due.first().copied()).min()
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
            return Err(self.recent.front().map_or(now + SECOND, |(at, _)| *at + SECOND));
        }
        self.recent.push_back((now, patient));
        if let Some(chat) = chat {
            self.sweep(now);
            let line = self.lines.entry(chat.to_owned()).or_default();
            line.next = Some(now + self.pace.chat_interval);
            if self.pace.group_per_min.is_some() && (self.pace.is_group)(chat) {
                line.recent.push_back(now);
            }
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

    /// A message of that chat has arrived: its pause begins.
    pub(super) fn arrived(&mut self, chat: &str, now: Instant) {
        let interval = self.pace.chat_interval;
        self.hold(chat, now + interval);
    }

    /// Nothing for that chat before that moment.
    pub(super) fn hold(&mut self, chat: &str, until: Instant) {
        let line = self.lines.entry(chat.to_owned()).or_default();
        line.next = line.next.max(Some(until));
    }

    fn sweep(&mut self, now: Instant) {
        if self.lines.len() < SWEEP {
            return;
        }
        let is_idle = |line: &Line| {
            line.next.is_none_or(|at| at <= now) && line.recent.back().is_none_or(|at| *at + MINUTE <= now)
        };
        self.lines.retain(|_, line| !is_idle(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PACE: Pace = Pace {
        chat_interval: Duration::from_millis(800),
        per_sec: 5,
        reserve_per_sec: 2,
        group_per_min: Some(4),
        is_group: |chat| chat.starts_with('g'),
        warn_delay: MINUTE,
    };

    proptest! {
        #[test]
        fn no_second_holds_too_many_no_chat_is_too_fast_and_no_group_too_loud(
            calls in prop::collection::vec((0..6_u8, any::<bool>(), 0..700_u64), 1..200),
        ) {
            let (mut pacer, mut now, mut given) = (Pacer::new(PACE), Instant::now(), Vec::new());
            for (chat, patient, gap) in calls {
                now += Duration::from_millis(gap);
                let chat = if chat < 2 { format!("g{chat}") } else { chat.to_string() };
                match pacer.admit(Some(&chat), patient, now) {
                    Ok(()) => given.push((chat, patient, now)),
                    Err(at) => {
                        prop_assert!(at > now);
                        // Whoever comes back then, alone, is let in, or told a later moment.
                        prop_assert!(pacer.wakes_at(now).is_some_and(|wakes| wakes <= at) );
                    }
                }
            }
            let within = |from: Instant, time: Duration, of: &dyn Fn(&(String, bool, Instant)) -> bool| {
                given.iter().filter(|one| one.2 >= from && one.2 < from + time && of(one)).count()
            };
            for (index, (chat, _, at)) in given.iter().enumerate() {
                let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
                prop_assert!(within(*at, second, &|_| true) <= 5);
                prop_assert!(within(*at, second, &|one| one.1) <= 3);
                if chat.starts_with('g') {
                    prop_assert!(within(*at, minute, &|one| one.0 == *chat) <= 4);
                }
                let same = given[..index].iter().rfind(|one| one.0 == *chat);
                prop_assert!(same.is_none_or(|one| *at >= one.2 + PACE.chat_interval));
            }
        }
    }

    #[test]
    fn what_may_wait_leaves_room_for_what_may_not() {
        let (mut pacer, now) = (Pacer::new(PACE), Instant::now());
        for chat in ["a", "b", "c"] {
            assert_eq!(pacer.admit(Some(chat), true, now), Ok(()));
        }
        assert!(pacer.admit(Some("d"), true, now).is_err());
        assert_eq!(pacer.room(now), [2, 0]);
        assert_eq!(pacer.admit(Some("d"), false, now), Ok(()));
        assert_eq!(pacer.admit(None, false, now), Ok(()));
        assert!(pacer.admit(None, false, now).is_err());
        assert_eq!(pacer.room(now + SECOND), [5, 3]);
    }

    #[test]
    fn a_chat_that_was_told_to_be_quiet_is() {
        let (mut pacer, now) = (Pacer::new(PACE), Instant::now());
        pacer.hold("a", now + Duration::from_secs(7));
        assert_eq!(pacer.admit(Some("a"), false, now), Err(now + Duration::from_secs(7)));
        assert_eq!(pacer.admit(Some("b"), false, now), Ok(()));
    }
}
