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

    /// A message of that chat arrived at that moment, before this process was there. From the oldest on.
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

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
            calls in prop::collection::vec((0..6_u8, any::<bool>(), 0..700_u64, 0..900_u64, 0..=100_u64), 1..200),
        ) {
            let (mut pacer, mut now, mut given) = (Pacer::new(PACE), Instant::now(), Vec::new());
            let mut under_way: BTreeMap<(Instant, usize), String> = BTreeMap::new();
            for (chat, patient, gap, takes, seen) in calls {
                now += Duration::from_millis(gap);
                while let Some(((ended, _), chat)) = under_way.pop_first() {
                    if ended > now {
                        under_way.insert((ended, usize::MAX), chat);
                        break;
                    }
                    pacer.arrived(&chat, ended);
                }
                let chat = if chat < 2 { format!("g{chat}") } else { chat.to_string() };
                if under_way.values().any(|other| *other == chat) {
                    continue;
                }
                match pacer.admit(Some(&chat), patient, now) {
                    Ok(()) => {
                        let takes = Duration::from_millis(takes);
                        under_way.insert((now + takes, given.len()), chat.clone());
                        // The other side sees it somewhere between.
                        given.push((chat, patient, now + takes * u32::try_from(seen).unwrap() / 100));
                    }
                    Err(at) => {
                        prop_assert!(at > now);
                        let wakes = pacer.wakes_at(now);
                        prop_assert!(wakes.is_some_and(|wakes| wakes <= at) || !under_way.is_empty());
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

    /// Lets go of everything that is under way.
    fn arrive(pacer: &mut Pacer, chats: &[&str], now: Instant) {
        for chat in chats {
            pacer.arrived(chat, now);
        }
    }

    #[test]
    fn what_may_wait_leaves_room_for_what_may_not() {
        let (mut pacer, mut now) = (Pacer::new(PACE), Instant::now());
        let start = now;
        for chat in ["a", "b", "c"] {
            assert_eq!(pacer.admit(Some(chat), true, now), Ok(()));
            pacer.arrived(chat, now);
            now += Duration::from_millis(200);
        }
        assert!(pacer.admit(Some("d"), true, now).is_err());
        assert_eq!(pacer.room(now), [1, 0]);
        assert_eq!(pacer.admit(Some("d"), false, now), Ok(()));
        now += Duration::from_millis(200);
        assert_eq!(pacer.admit(None, false, now), Ok(()));
        assert!(pacer.admit(None, false, now + Duration::from_millis(199)).is_err());
        assert_eq!(pacer.wakes_at(now), Some(start + SECOND));
        arrive(&mut pacer, &["d"], now);
        assert_eq!(pacer.room(now + SECOND), [1, 1]);
    }

    #[test]
    fn a_second_is_used_evenly_and_its_whole_room() {
        let pace = Pace { per_sec: 30, chat_interval: Duration::ZERO, ..PACE };
        let (mut pacer, start) = (Pacer::new(pace), Instant::now());
        let mut left = Vec::new();
        for milli in 0..10_000 {
            let now = start + Duration::from_millis(milli);
            let chat = left.len().to_string();
            while pacer.admit(Some(&chat), false, now).is_ok() {
                pacer.arrived(&chat, now);
                left.push(milli);
            }
        }
        assert_eq!(left.len(), 300, "30 in each of ten seconds");
        for tenth in 1..100 {
            let count = left.iter().filter(|milli| **milli / 100 == tenth).count();
            assert!(count <= 7, "{count} in a tenth of a second: a burst, and what is even");
        }
    }

    #[test]
    fn a_chat_that_was_told_to_be_quiet_is() {
        let (mut pacer, now) = (Pacer::new(PACE), Instant::now());
        pacer.hold("a", now + Duration::from_secs(7));
        assert_eq!(pacer.admit(Some("a"), false, now), Err(now + Duration::from_secs(7)));
        assert_eq!(pacer.admit(Some("b"), false, now), Ok(()));
    }

    #[test]
    fn what_left_before_a_restart_counts_as_if_there_had_been_none() {
        let (mut pacer, start) = (Pacer::new(PACE), Instant::now());
        let now = start + Duration::from_secs(59);
        for secs in [0, 20, 40] {
            pacer.recall("g1", false, start + Duration::from_secs(secs), now);
        }
        for milli in [300, 350, 400, 450] {
            pacer.recall("a", true, now - Duration::from_millis(milli), now);
        }
        assert_eq!(pacer.room(now), [1, 0]);
        assert_eq!(pacer.admit(Some("a"), false, now), Err(now + Duration::from_millis(500)));
        assert_eq!(pacer.admit(Some("g1"), false, now), Ok(()), "the fourth of its minute");
        pacer.arrived("g1", now);
        let later = now + Duration::from_millis(900);
        assert_eq!(
            pacer.admit(Some("g1"), false, later),
            Err(start + MINUTE),
            "the fifth waits for the first"
        );
    }

    #[test]
    fn what_never_arrives_takes_no_room_for_ever() {
        let (mut pacer, start) = (Pacer::new(PACE), Instant::now());
        for number in 0..5 {
            let now = start + Duration::from_millis(200 * number);
            assert_eq!(pacer.admit(Some(&number.to_string()), false, now), Ok(()));
        }
        assert_eq!(pacer.room(start + LOST - SECOND), [0, 0]);
        assert!(pacer.room(start + LOST + SECOND)[0] > 0);
    }

    /// One message on its way out, in a model of the outbox whose time is made up.
    struct Waiting {
        chat: usize,
        number: usize,
    }

    // news.md, must show 6
    #[test]
    fn a_thousand_messages_to_two_hundred_chats_leave_as_telegram_allows() {
        const CHATS: usize = 200;
        const GROUPS: usize = 10;
        let name = |chat: usize| if chat < GROUPS { format!("g{chat}") } else { format!("p{chat}") };
        let pace =
            Pace { chat_interval: SECOND, per_sec: 30, reserve_per_sec: 10, group_per_min: Some(20), ..PACE };
        let start = Instant::now();
        let (mut pacer, mut queue) = (Pacer::new(pace), Vec::new());
        // 25 to each group, so that its minute is full, and the rest to people, all at once.
        let mut numbers = [0; CHATS];
        for index in 0..1000 {
            let chat = if index < 250 { index % GROUPS } else { GROUPS + index % (CHATS - GROUPS) };
            queue.push(Waiting { chat, number: numbers[chat] });
            numbers[chat] += 1;
        }
        let mut arrivals: Vec<(usize, usize, u64)> = Vec::new();
        let mut under_way: Vec<(usize, u64)> = Vec::new();
        let (mut limited_at, mut restarted) = (None, false);
        for milli in (0..200_000_u64).step_by(5) {
            let now = start + Duration::from_millis(milli);
            under_way.retain(|(chat, ends)| {
                let over = *ends <= milli;
                if over {
                    pacer.arrived(&name(*chat), now);
                }
                !over
            });
            // Killed in the middle: what left, and who waits, is read anew.
            if arrivals.len() > 500 && !restarted && under_way.is_empty() {
                restarted = true;
                pacer = Pacer::new(pace);
                for (chat, _, at) in &arrivals {
                    if milli - at < 60_050 {
                        pacer.recall(&name(*chat), false, start + Duration::from_millis(*at), now);
                    }
                }
                if let Some((chat, at)) = limited_at {
                    pacer.hold(&name(chat), start + Duration::from_millis(at + 7000));
                }
            }
            let mut tried = [false; CHATS];
            let mut index = 0;
            while index < queue.len() {
                let chat = queue[index].chat;
                let busy = under_way.iter().any(|(other, _)| *other == chat);
                if tried[chat] || busy || pacer.admit(Some(&name(chat)), false, now).is_err() {
                    tried[chat] = true;
                    index += 1;
                    continue;
                }
                let latency = 3 + (index as u64 * 7) % 40;
                under_way.push((chat, milli + latency));
                if limited_at.is_none() && arrivals.len() > 300 && chat >= GROUPS {
                    limited_at = Some((chat, milli));
                    pacer.hold(&name(chat), now + Duration::from_millis(latency + 7000));
                    index += 1;
                    continue;
                }
                let gone = queue.remove(index);
                arrivals.push((gone.chat, gone.number, milli + latency));
            }
            if queue.is_empty() && under_way.is_empty() {
                break;
            }
        }
        arrivals.sort_by_key(|(_, _, at)| *at);
        let (silenced, silent_from) = limited_at.unwrap();
        assert!(restarted && arrivals.len() == 1000, "{} of 1000", arrivals.len());
        for window in arrivals.windows(31) {
            assert!(window[30].2 - window[0].2 >= 1000, "31 within a second: {:?}", &window[0]);
        }
        for chat in 0..CHATS {
            let own: Vec<_> = arrivals.iter().filter(|one| one.0 == chat).collect();
            assert!(own.iter().enumerate().all(|(index, one)| one.1 == index), "in order");
            assert!(own.windows(2).all(|two| two[1].2 - two[0].2 >= 1000));
            if chat < GROUPS {
                assert!(own.windows(21).all(|many| many[20].2 - many[0].2 >= 60_000));
            }
        }
        let during = |at: u64| at > silent_from + 50 && at < silent_from + 7000;
        assert!(!arrivals.iter().any(|one| one.0 == silenced && during(one.2)));
        let others = arrivals.iter().filter(|one| during(one.2)).count();
        assert!(others > 150, "the others go on: {others}");
    }
}
