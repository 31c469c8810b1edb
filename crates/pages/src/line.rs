//! Whose turn it is: at most so many fetches at once and a minute, and for each host at most so many at once, with a
//! pause between them. Pure, with `now` passed in.
//!
//! Invariants: whoever may start is served before all who came later, so one host that has to wait (a crawl delay, a
//! Retry-After) holds up nobody else and nobody is passed over; no 60 seconds see more starts than allowed; two starts
//! at one host are never closer than its pause. Source: S0-08, S0-09; news.md section 4.

use crate::config::PagesConfig;
use ahash::AHashMap;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Length of the window.
const WINDOW: Duration = Duration::from_secs(60);
/// How often a backlog is told at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinePolicy {
    concurrency: usize,
    per_min: usize,
    queue: usize,
    warn_depth: usize,
    warn_wait: Duration,
    host_interval: Duration,
    open_interval: Duration,
    host_concurrency: usize,
    max_hosts: usize,
    crawl_delay: Duration,
    slow: Duration,
}

impl From<&PagesConfig> for LinePolicy {
    fn from(config: &PagesConfig) -> Self {
        Self {
            concurrency: config.concurrency.max(1),
            per_min: usize::try_from(config.per_min.max(1)).unwrap_or(usize::MAX),
            queue: config.queue,
            warn_depth: config.warn_depth,
            warn_wait: Duration::from_secs(config.warn_wait_secs),
            host_interval: Duration::from_millis(config.host_interval_ms),
            open_interval: Duration::from_millis(config.open_interval_ms),
            host_concurrency: config.host_concurrency.max(1),
            max_hosts: config.max_hosts,
            crawl_delay: Duration::from_secs(config.crawl_delay_secs),
            slow: Duration::from_secs(config.slow_secs),
        }
    }
}

/// One that waits.
#[derive(Debug)]
struct Waiting {
    id: u64,
    host: Arc<str>,
    since: Instant,
    urgent: bool,
}

/// What is known of a host.
#[derive(Debug)]
struct Host {
    running: usize,
    waiting: usize,
    last_start: Option<Instant>,
    /// Whether it serves many channels at one name.
    open: bool,
    /// What its robots.txt asks for.
    delay: Duration,
    paused_until: Instant,
    slow_until: Instant,
}

/// Whether it is one's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It has started.
    Go,
    /// Not yet: at that time at the soonest, or when something changes.
    Wait(Option<Instant>),
}

/// A backlog worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) depth: usize,
    pub(crate) oldest: Duration,
}

/// The line.
#[derive(Debug)]
pub(crate) struct Line {
    policy: LinePolicy,
    waiting: VecDeque<Waiting>,
    running: usize,
    /// When the fetches of the last 60 seconds started.
    starts: VecDeque<Instant>,
    hosts: AHashMap<Arc<str>, Host>,
    next: u64,
    told: Option<Instant>,
}

impl Line {
    pub(crate) fn new(policy: LinePolicy) -> Self {
        Self {
            policy,
            waiting: VecDeque::new(),
            running: 0,
            starts: VecDeque::new(),
            hosts: AHashMap::new(),
            next: 0,
            told: None,
        }
    }

    /// Joins the line; urgent ones stand before all others. The place ends with `Turn::Go` or `leave`.
    ///
    /// # Errors
    /// No place; about how long until there is one.
    pub(crate) fn join(&mut self, host: &Arc<str>, urgent: bool, now: Instant) -> Result<u64, Duration> {
        if self.waiting.len() >= self.policy.queue || !self.know(host, now) {
            return Err(self.estimate());
        }
        let id = self.next;
        self.next += 1;
        let place = if urgent {
            self.waiting.iter().position(|other| !other.urgent).unwrap_or(self.waiting.len())
        } else {
            self.waiting.len()
        };
        self.waiting.insert(place, Waiting { id, host: Arc::clone(host), since: now, urgent });
        self.of(host, now).waiting += 1;
        Ok(id)
    }

    /// How long one waits behind a full line: it drains at its limit a minute.
    fn estimate(&self) -> Duration {
        let turns = u32::try_from(self.waiting.len() + 1).unwrap_or(u32::MAX);
        let each = WINDOW / u32::try_from(self.policy.per_min).unwrap_or(u32::MAX);
        each.saturating_mul(turns).clamp(Duration::from_secs(1), Duration::from_secs(3_600))
    }

    /// Whether there is room to remember this host; those that are at rest are forgotten for it.
    fn know(&mut self, host: &Arc<str>, now: Instant) -> bool {
        if self.hosts.len() >= self.policy.max_hosts && !self.hosts.contains_key(host) {
            let policy = self.policy;
            self.hosts.retain(|_, known| !known.at_rest(&policy, now));
        }
        self.hosts.len() < self.policy.max_hosts || self.hosts.contains_key(host)
    }

    fn of(&mut self, host: &Arc<str>, now: Instant) -> &mut Host {
        self.hosts.entry(Arc::clone(host)).or_insert_with(|| Host::new(now))
    }

    /// Whether it is the turn of this one; if so, it has started.
    pub(crate) fn turn(&mut self, id: u64, now: Instant) -> Turn {
        while self.starts.front().is_some_and(|start| now.saturating_duration_since(*start) >= WINDOW) {
            self.starts.pop_front();
        }
        if self.running >= self.policy.concurrency {
            return Turn::Wait(None);
        }
        if self.starts.len() >= self.policy.per_min {
            return Turn::Wait(self.starts.front().map(|oldest| *oldest + WINDOW));
        }
        for (place, waiting) in self.waiting.iter().enumerate() {
            let ready = self.hosts.get(&waiting.host).map_or(Some(now), |host| host.ready(&self.policy, now));
            let may = ready.is_some_and(|at| at <= now);
            if waiting.id == id {
                if may {
                    self.begin(place, now);
                    return Turn::Go;
                }
                return Turn::Wait(ready);
            }
            if may {
                return Turn::Wait(None);
            }
        }
        Turn::Wait(None)
    }

    fn begin(&mut self, place: usize, now: Instant) {
        let Some(waiting) = self.waiting.remove(place) else { return };
        self.running += 1;
        self.starts.push_back(now);
        let host = self.of(&waiting.host, now);
        host.waiting -= 1;
        host.running += 1;
        host.last_start = Some(now);
    }

    /// Leaves without having started.
    pub(crate) fn leave(&mut self, id: u64) {
        let Some(place) = self.waiting.iter().position(|waiting| waiting.id == id) else { return };
        if let Some(waiting) = self.waiting.remove(place)
            && let Some(host) = self.hosts.get_mut(&waiting.host)
        {
            host.waiting -= 1;
        }
    }

    /// One that started has ended.
    pub(crate) fn end(&mut self, host: &Arc<str>) {
        self.running -= 1;
        if let Some(host) = self.hosts.get_mut(host) {
            host.running -= 1;
        }
    }

    /// The host asks to be left alone for so long.
    pub(crate) fn pause(&mut self, host: &Arc<str>, time: Duration, now: Instant) {
        let known = self.of(host, now);
        known.paused_until = known.paused_until.max(now + time);
    }

    /// The host asks for less, without saying how much: half the pace for a while.
    pub(crate) fn slow(&mut self, host: &Arc<str>, now: Instant) {
        let slow = self.policy.slow;
        self.of(host, now).slow_until = now + slow;
    }

    /// The host serves many channels at one name.
    pub(crate) fn open(&mut self, host: &Arc<str>, now: Instant) {
        self.of(host, now).open = true;
    }

    /// What the host's robots.txt asks for.
    pub(crate) fn delay(&mut self, host: &Arc<str>, delay: Duration, now: Instant) {
        let most = self.policy.crawl_delay;
        self.of(host, now).delay = delay.min(most);
    }

    /// When the host is left alone until.
    pub(crate) fn paused(&self, host: &Arc<str>, now: Instant) -> Option<Duration> {
        let until = self.hosts.get(host)?.paused_until;
        (until > now).then(|| until - now)
    }

    /// Whether the line is worth a warning; at most one in ten seconds.
    pub(crate) fn backlog(&mut self, now: Instant) -> Option<Backlog> {
        let (depth, oldest) = self.depth(now);
        let long = depth >= self.policy.warn_depth || oldest >= self.policy.warn_wait;
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        (depth > 0 && long && due).then(|| {
            self.told = Some(now);
            Backlog { depth, oldest }
        })
    }

    /// How many wait, and the longest of their waits.
    pub(crate) fn depth(&self, now: Instant) -> (usize, Duration) {
        let oldest = self.waiting.iter().map(|waiting| waiting.since).min();
        let waited = oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (self.waiting.len(), waited)
    }
}

impl Host {
    const fn new(now: Instant) -> Self {
        Self {
            running: 0,
            waiting: 0,
            last_start: None,
            open: false,
            delay: Duration::ZERO,
            paused_until: now,
            slow_until: now,
        }
    }

    /// Shortest time between two starts, now.
    fn interval(&self, policy: &LinePolicy, now: Instant) -> Duration {
        let least = if self.open { policy.open_interval } else { policy.host_interval };
        let own = least.max(self.delay);
        if self.slow_until > now { own * 2 } else { own }
    }

    /// From when on it may be asked; none: when one of those under way has ended.
    fn ready(&self, policy: &LinePolicy, now: Instant) -> Option<Instant> {
        if self.running >= policy.host_concurrency {
            return None;
        }
        let next = self.last_start.map_or(now, |last| last + self.interval(policy, now));
        Some(next.max(self.paused_until))
    }

    fn at_rest(&self, policy: &LinePolicy, now: Instant) -> bool {
        self.waiting == 0
            && self.slow_until <= now
            && self.running == 0
            && self.ready(policy, now).is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests;
