//! How often a bot may write: its own counters and the waits it was told. Invariant: a refused call counts for nothing
//! but for the wait, which it begins anew.

use super::{
    Limits, Rates,
    state::{Moment, Refusal},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Arrivals this much too early are the network's doing.
const JITTER: Duration = Duration::from_millis(60);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// What the lenient counters let through beyond the rule, as the real ones do.
const BURST: usize = 4;

/// A wait that was told.
#[derive(Clone, Copy, Debug)]
struct Wait {
    until: Moment,
    secs: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    all: VecDeque<Moment>,
    chats: BTreeMap<i64, VecDeque<Moment>>,
    /// Per chat; 0: for the whole bot.
    waits: BTreeMap<i64, Wait>,
}

/// What the counters make of a message.
pub(super) enum Verdict {
    Fine,
    /// Too soon: the refusal and what is wrong.
    Refused(Refusal, String),
}

impl Counters {
    /// Tells a chat (0: all) to be left alone.
    pub(super) fn tell(&mut self, chat: i64, secs: u64, now: Moment) {
        self.waits.insert(chat, Wait { until: now + Duration::from_secs(secs), secs });
    }

    /// Whether somebody calls before the end of a wait; that begins it anew.
    pub(super) fn waiting(&mut self, chat: i64, now: Moment) -> Option<(Refusal, String)> {
        for scope in [0, chat] {
            let Some(wait) = self.waits.get(&scope).copied() else { continue };
            if now + JITTER < wait.until {
                self.tell(scope, wait.secs, now);
                let early = (wait.until - now).as_millis();
                let what = format!("chat {chat} was written to {early} ms before the end of a wait");
                return Some((Refusal::too_many(wait.secs), what));
            }
            self.waits.remove(&scope);
        }
        None
    }

    /// Counts a message or an edit.
    pub(super) fn count(&mut self, chat: i64, limits: &Limits, rates: Rates, now: Moment) -> Verdict {
        let lenient = match rates {
            Rates::Off => return Verdict::Fine,
            Rates::Lenient => true,
            Rates::Exact => false,
        };
        let (slack, burst) = if lenient { (2, BURST) } else { (1, 1) };
        let own = self.chats.entry(chat).or_default();
        own.retain(|at| now.saturating_sub(*at) < MINUTE);
        self.all.retain(|at| now.saturating_sub(*at) < SECOND);
        let interval = limits.chat_interval;
        let window = interval * u32::try_from(burst).unwrap_or(1);
        let recent = own.iter().filter(|at| now.saturating_sub(**at) + JITTER < window).count();
        let (secs, what) = if self.all.len() >= limits.global_per_sec * slack {
            (1, format!("more than {} messages in a second", limits.global_per_sec))
        } else if !interval.is_zero() && recent >= burst {
            (interval.as_secs().max(1), format!("chat {chat} was written to more than once in {interval:?}"))
        } else if chat < 0 && own.len() >= limits.group_per_min * slack {
            let until = own.front().map_or(MINUTE, |first| MINUTE.saturating_sub(now.saturating_sub(*first)));
            (
                until.as_secs() + 1,
                format!("group {chat} got more than {} messages in a minute", limits.group_per_min),
            )
        } else {
            own.push_back(now);
            self.all.push_back(now);
            return Verdict::Fine;
        };
        self.tell(chat, secs, now);
        Verdict::Refused(Refusal::too_many(secs), what)
    }
}
