//! Anomalies: messages that do not fit their caller. They are noted and can be alerted of; they never block anything by
//! themselves. What is known of callers is bounded and in memory only: after a restart habits are learnt anew.
//! Invariants: deciding is pure (`habit`), takes one short lock and allocates nothing for a known caller; telling is
//! rare: a kind of a caller once in its quiet time, and at most `records_per_min` records.
//!
//! Source: inspect.md section 6, S2-3.4.

mod habit;
mod lengths;
mod note;
mod table;

use ahash::RandomState;
use habit::Rules;
use jiff::{Timestamp, tz::TimeZone};
pub use note::{Anomalies, Strange};
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};
use table::Table;

/// `[anomaly]`: messages that do not fit their caller.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnomalyConfig {
    /// Whether anomalies are looked for. Default true.
    pub enabled: bool,
    /// Callers whose habits are remembered, about 230 bytes each; who was silent longest is forgotten first.
    /// Default 100000.
    pub callers: usize,
    /// How far a message's length may be from the caller's usual one, in robust standard deviations of its logarithm.
    /// Default 3.
    pub z: f32,
    /// Messages within 60 seconds that are a burst, for callers who are not used to so many. Default 20.
    pub burst: u16,
    /// Hours of the day in which messages are expected, from the first to before the second, until a caller's own habit
    /// is known. The same hour twice: all. Default 8 to 22.
    pub hours: [u8; 2],
    /// Time zone of the hours. Default `"UTC"`.
    pub timezone: String,
    /// Refusals in a row that are told. Default 5.
    pub refusals: u8,
    /// How long the same kind of the same caller is not told again, in seconds. Default 3600.
    pub quiet_secs: u32,
    /// Anomalies in any hour above which an alert is raised. Default 20.
    pub alert_per_hour: usize,
    /// Anomalies that are recorded in the audit trail in a minute; further ones are counted. Default 60.
    pub records_per_min: u32,
}

impl Default for AnomalyConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            callers: 100_000,
            z: 3.0,
            burst: 20,
            hours: [8, 22],
            timezone: "UTC".into(),
            refusals: 5,
            quiet_secs: 3_600,
            alert_per_hour: 20,
            records_per_min: 60,
        }
    }
}

impl AnomalyConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let mut wrong = |key: &str, what: String, mend: &str| {
            out.push(Problem::new(format!("{prefix}.{key}"), what, mend));
        };
        for (key, value, least, most) in [
            ("callers", self.callers as u64, 16, 100_000_000),
            ("burst", u64::from(self.burst), 1, 60_000),
            ("refusals", u64::from(self.refusals), 1, 255),
            ("quiet_secs", u64::from(self.quiet_secs), 1, 604_800),
            ("alert_per_hour", self.alert_per_hour as u64, 1, 100_000),
            ("records_per_min", u64::from(self.records_per_min), 1, 1_000_000),
        ] {
            if !(least..=most).contains(&value) {
                wrong(
                    key,
                    format!("{value} is out of range: {least} to {most}"),
                    "leave the key out for its default",
                );
            }
        }
        if !(1.0..=100.0).contains(&self.z) {
            wrong("z", format!("{} is out of range: 1 to 100", self.z), "leave the key out for 3");
        }
        if self.hours.iter().any(|hour| *hour > 24) {
            wrong(
                "hours",
                format!("{:?} are no hours of a day", self.hours),
                "choose two from 0 to 24, such as [8, 22]",
            );
        }
        if self.zone().is_none() {
            let what = format!("no time zone is called {:?}", self.timezone);
            wrong("timezone", what, "use a name such as UTC or Europe/Amsterdam");
        }
    }

    fn zone(&self) -> Option<TimeZone> {
        TimeZone::get(&self.timezone).ok()
    }
}

/// In what a message does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Its length.
    Length,
    /// It is one of too many in a minute.
    Burst,
    /// Its hour of the day.
    Hours,
    /// It is one of too many that were refused in a row.
    Refusals,
    /// The network its key was used from.
    Network,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Length, Self::Burst, Self::Hours, Self::Refusals, Self::Network];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Burst => "burst",
            Self::Hours => "hours",
            Self::Refusals => "refusals",
            Self::Network => "network",
        }
    }
}

/// One request that ended.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// `Caller::id`.
    pub caller: &'a str,
    /// Characters (bytes) of the message, where it was one.
    pub length: Option<u32>,
    /// Whether it was refused, or answered; none: neither, such as a provider that failed.
    pub refused: Option<bool>,
    /// The network its key was used from.
    pub network: Option<u16>,
}

/// What did not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Found {
    kinds: u8,
    /// The first message of this caller since it was forgotten, or ever.
    pub first: bool,
    /// How far its length is from the usual, in robust standard deviations.
    pub z: f32,
    /// Messages within 60 s.
    pub rate: u16,
    /// Hour of the day.
    pub hour: u8,
}

impl Found {
    /// Whether there is anything to tell.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.kinds == 0 && !self.first
    }

    /// What did not fit.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.kinds & 1 << *kind as u8 != 0)
    }
}

/// A network as coarse as people move: of public addresses the first 16 (IPv4) or 32 (IPv6) bits, of loopback, private
/// and shared ones their kind.
#[must_use]
pub fn network(address: IpAddr) -> u16 {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            match (v4.is_loopback(), v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xC0 == 64)) {
                (true, _) => 0x7F00,
                (_, true) => 0x0A00,
                (false, false) => u16::from_be_bytes([a, b]),
            }
        }
        IpAddr::V6(v6) => {
            let [a, b, ..] = v6.segments();
            if v6.is_loopback() {
                0x7F00
            } else if v6.is_unique_local() || v6.is_unicast_link_local() {
                0x0A00
            } else {
                // Below 0xE000 are the IPv4 networks.
                0xE000 | ((a.wrapping_mul(0x9E37) ^ b.wrapping_mul(0x85EB)) & 0x1FFF)
            }
        }
    }
}

/// The pure part: what is known of callers, and the rules.
struct Watch {
    rules: Rules,
    table: Table,
    hasher: RandomState,
    zone: TimeZone,
    /// The quarter of an hour since the epoch and its offset from UTC, which changes at no other time: 40 bits and 24.
    offset: AtomicI64,
}

const QUARTER: i64 = 900;
const OFFSET_BITS: u32 = 24;
const OFFSET_ZERO: i64 = 1 << (OFFSET_BITS - 1);

impl Watch {
    fn new(config: &AnomalyConfig) -> Self {
        Self {
            rules: Rules {
                z: config.z,
                burst: config.burst,
                hours: (config.hours[0] % 24, config.hours[1].min(24)),
                refusals: config.refusals,
                quiet_secs: config.quiet_secs,
            },
            table: Table::new(config.callers),
            hasher: RandomState::new(),
            zone: config.zone().unwrap_or(TimeZone::UTC),
            offset: AtomicI64::new(0),
        }
    }

    /// Takes in one request that ended at `now`, in seconds since the epoch.
    fn observe(&self, seen: &Seen<'_>, now: i64) -> Found {
        let hour = (now + self.offset(now)).max(0) / 3_600;
        let (now, hour) =
            (u32::try_from(now.max(0)).unwrap_or(u32::MAX), u32::try_from(hour).unwrap_or(u32::MAX));
        let hash = self.hasher.hash_one(seen.caller);
        self.table.with(hash, now, |habit| habit.observe(&self.rules, seen, now, hour))
    }

    /// Seconds that local time is ahead of UTC.
    fn offset(&self, now: i64) -> i64 {
        let (quarter, known) = (now.div_euclid(QUARTER), self.offset.load(Relaxed));
        if known >> OFFSET_BITS == quarter {
            return (known & ((1 << OFFSET_BITS) - 1)) - OFFSET_ZERO;
        }
        let at = Timestamp::from_second(now).unwrap_or_default();
        let offset = i64::from(self.zone.to_offset(at).seconds());
        self.offset.store(quarter << OFFSET_BITS | (offset + OFFSET_ZERO), Relaxed);
        offset
    }
}

#[cfg(test)]
mod tests;
