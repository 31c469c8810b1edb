//! Addresses that guess. Invariant: looking costs one atomic read while nobody is blocked; memory is bounded whatever
//! the internet sends. IPv6 is counted by /64 network, because one host has all of it.

use super::AuthConfig;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::Instant;

struct Record {
    /// When the window began; once blocked, when that began.
    since: Instant,
    failures: u32,
    blocked: bool,
}

/// What a failure led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Noted,
    JustBlocked(Duration),
}

pub(super) struct Addresses {
    records: Mutex<HashMap<IpAddr, Record, ahash::RandomState>>,
    /// How many are blocked; at least as many as really are.
    blocked: AtomicUsize,
    most_failures: u32,
    window: Duration,
    block: Duration,
    max: usize,
}

impl Addresses {
    pub(super) fn new(config: &AuthConfig) -> Self {
        Self {
            records: Mutex::default(),
            blocked: AtomicUsize::new(0),
            most_failures: config.failures,
            window: Duration::from_secs(config.failure_window_secs),
            block: Duration::from_secs(config.block_secs),
            max: config.failure_addresses,
        }
    }

    /// How long the address is still refused.
    pub(super) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut records = self.records.lock();
        let address = group(address);
        let record = records.get(&address).filter(|record| record.blocked)?;
        let left = (record.since + self.block).saturating_duration_since(now);
        if left.is_zero() {
            records.remove(&address);
            self.blocked.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(left)
    }

    /// Counts one failure.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> Count {
        if self.most_failures == 0 {
            return Count::Noted;
        }
        let mut records = self.records.lock();
        let address = group(address);
        if !records.contains_key(&address) && records.len() >= self.max {
            self.make_room(&mut records, now);
        }
        let record = records.entry(address).or_insert(Record { since: now, failures: 0, blocked: false });
        if record.blocked {
            return Count::Noted;
        }
        if now >= record.since + self.window {
            (record.since, record.failures) = (now, 0);
        }
        record.failures += 1;
        if record.failures <= self.most_failures {
            return Count::Noted;
        }
        (record.blocked, record.since) = (true, now);
        self.blocked.fetch_add(1, Ordering::Relaxed);
        Count::JustBlocked(self.block)
    }

    /// Forgets what has run out; if nothing has, a sixteenth of those whose failures are oldest, so that a flood of
    /// addresses pays for a scan only now and then.
    fn make_room(&self, records: &mut HashMap<IpAddr, Record, ahash::RandomState>, now: Instant) {
        let ends = |record: &Record| record.since + if record.blocked { self.block } else { self.window };
        records.retain(|_, record| now < ends(record));
        if records.len() >= self.max {
            let mut oldest: Vec<_> =
                records.iter().map(|(address, record)| (record.blocked, record.since, *address)).collect();
            oldest.sort_unstable();
            for (_, _, address) in oldest.iter().take((self.max / 16).max(1)) {
                records.remove(address);
            }
        }
        let blocked = records.values().filter(|record| record.blocked).count();
        self.blocked.store(blocked, Ordering::Relaxed);
    }
}

/// The address, or for IPv6 its /64 network.
pub(super) fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => IpAddr::V4(four),
        IpAddr::V6(six) => {
            let [a, b, c, d, ..] = six.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn addresses(max: usize) -> Addresses {
        Addresses::new(&AuthConfig { failure_addresses: max, ..AuthConfig::default() })
    }

    // req: S3-BUG-5
    #[test]
    fn the_eleventh_failure_in_five_minutes_blocks_the_address_for_five_minutes() {
        let (addresses, start) = (addresses(100), Instant::now());
        for second in 0..10 {
            assert_eq!(addresses.failed(ip(1), start + Duration::from_secs(second)), Count::Noted);
        }
        assert_eq!(addresses.blocked(ip(1), start), None);
        let now = start + Duration::from_secs(299);
        assert_eq!(addresses.failed(ip(1), now), Count::JustBlocked(Duration::from_secs(300)));
        assert_eq!(addresses.blocked(ip(1), now + Duration::from_secs(100)), Some(Duration::from_secs(200)));
        assert_eq!(addresses.blocked(ip(2), now), None, "others are not touched");
        assert_eq!(addresses.blocked(ip(1), now + Duration::from_secs(300)), None);
        assert_eq!(addresses.failed(ip(1), now + Duration::from_secs(300)), Count::Noted, "counted anew");
    }

    #[test]
    fn failures_further_apart_than_the_window_never_block() {
        let (addresses, start) = (addresses(100), Instant::now());
        for n in 0..100 {
            assert_eq!(addresses.failed(ip(1), start + Duration::from_secs(31 * n)), Count::Noted);
        }
    }

    #[test]
    fn a_host_cannot_hide_behind_its_many_addresses() {
        let addresses = addresses(100);
        let now = Instant::now();
        let host = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n));
        let counts: Vec<_> = (0..11).map(|n| addresses.failed(host(n), now)).collect();
        assert!(matches!(counts[10], Count::JustBlocked(_)));
        assert!(addresses.blocked(host(999), now).is_some());
    }

    proptest! {
        #[test]
        fn memory_stays_bounded_and_the_count_of_the_blocked_true_whatever_comes(
            events in proptest::collection::vec((0..200_u32, 0..60_u64), 1..2000),
        ) {
            let addresses = addresses(50);
            let mut now = Instant::now();
            for (who, later) in events {
                now += Duration::from_secs(later);
                addresses.failed(ip(who % 97), now);
                addresses.blocked(ip(who % 89), now);
                let records = addresses.records.lock();
                prop_assert!(records.len() <= 50);
                let blocked = records.values().filter(|record| record.blocked).count();
                prop_assert_eq!(blocked, addresses.blocked.load(Ordering::Relaxed));
            }
        }
    }
}
