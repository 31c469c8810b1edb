//! Counters, gauges and histograms, their families by label, and how they are written in text format 0.0.4.
//!
//! Why our own: required names (`rate_limit_breaches`) must be exported exactly as they are and untyped, every
//! metric must be there from the first scrape on, and a measurement must cost tens of nanoseconds without
//! allocating. Invariants: a histogram's `_count` always equals its last bucket; a family never grows beyond
//! `MAX_SERIES`, whatever is passed as label. Source: Prometheus exposition format 0.0.4.

use ahash::RandomState;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// A number that only grows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One more.
    pub(super) fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// What it is now.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    pub fn dec(&self) {
        self.add(-1);
    }

    /// More, or less when negative.
    pub fn add(&self, value: i64) {
        self.0.fetch_add(value, Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// How long things took. Cheap to clone; one observation is two atomic additions.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    /// Upper bounds in nanoseconds, rising.
    bounds: Box<[u64]>,
    /// One count for each bound and one above all.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Histogram {
    /// With these upper bounds, in rising microseconds.
    pub(super) fn new(bounds_micros: &[u64]) -> Self {
        let bounds: Box<[u64]> = bounds_micros.iter().map(|micros| micros.saturating_mul(1000)).collect();
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self(Arc::new(Cells { bounds, counts, nanos: AtomicU64::new(0) }))
    }

    /// One more, that took so long.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.0.bounds.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        self.0.nanos.fetch_add(nanos, Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut total = 0;
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = self.0.bounds.iter().map(|bound| seconds(*bound)).chain(["+Inf".into()]);
        for (bound, count) in bounds.zip(&self.0.counts) {
            total += count.load(Relaxed);
            put(out, format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}\n"));
        }
        let braced = braces(labels);
        let sum = seconds(self.0.nanos.load(Relaxed));
        put(out, format_args!("{name}_sum{braced} {sum}\n{name}_count{braced} {total}\n"));
    }
}

/// Billionths as a decimal, exactly: nanoseconds as seconds.
fn seconds(nanos: u64) -> String {
    let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ok = out.write_fmt(text);
}

/// Escapes a label value: backslash, quote, line feed.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

/// HELP and TYPE.
pub(super) fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    put(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
}

/// What can stand behind one combination of labels.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    /// A gauge kept in millionths.
    Millionths(Gauge),
    Histogram(Histogram),
}

impl Cell {
    pub(super) fn write(&self, out: &mut String, name: &str, labels: &str) {
        match self {
            Self::Counter(counter) => put(out, format_args!("{name}{} {}\n", braces(labels), counter.get())),
            Self::Gauge(gauge) => put(out, format_args!("{name}{} {}\n", braces(labels), gauge.get())),
            Self::Millionths(gauge) => {
                let nanos = u64::try_from(gauge.get()).unwrap_or(0).saturating_mul(1000);
                put(out, format_args!("{name}{} {}\n", braces(labels), seconds(nanos)));
            }
            Self::Histogram(histogram) => histogram.write(out, name, labels),
        }
    }
}

/// Series of one metric. A bound for the case that somebody passes what is no enum and no configured name.
const MAX_SERIES: usize = 4_096;

type Rows<T, const N: usize> = HashMap<u64, Vec<([Box<str>; N], T)>, RandomState>;

/// All series of one metric with `N` labels.
pub(super) struct Family<T, const N: usize> {
    hasher: RandomState,
    rows: RwLock<(usize, Rows<T, N>)>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

impl<T: Clone, const N: usize> Family<T, N> {
    pub(super) fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { hasher: RandomState::new(), rows: RwLock::default(), make: Box::new(make) }
    }

    /// The series with these label values, made at first use. A hash, a read lock and a comparison.
    pub(super) fn with(&self, values: [&str; N]) -> T {
        let hash = self.hasher.hash_one(values);
        if let Some(found) = find(&self.rows.read().1, hash, values) {
            return found;
        }
        let mut rows = self.rows.write();
        if let Some(found) = find(&rows.1, hash, values) {
            return found;
        }
        let (hash, values) = match rows.0 {
            ..MAX_SERIES => (hash, values),
            MAX_SERIES.. => {
                let other = ["overflow"; N];
                let hash = self.hasher.hash_one(other);
                if let Some(found) = find(&rows.1, hash, other) {
                    return found;
                }
                (hash, other)
            }
        };
        let made = (self.make)();
        rows.0 += 1;
        rows.1.entry(hash).or_default().push((values.map(Box::from), made.clone()));
        made
    }

    /// Writes every series, in the order of their labels.
    pub(super) fn write(&self, out: &mut String, name: &str, labels: [&str; N], cell: impl Fn(T) -> Cell) {
        let mut rows: Vec<_> = self.rows.read().1.values().flatten().cloned().collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (values, series) in rows {
            let mut text = String::new();
            for (index, (label, value)) in labels.iter().zip(&values).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(label);
                text.push_str("=\"");
                escape(&mut text, value);
                text.push('"');
            }
            cell(series).write(out, name, &text);
        }
    }
}

fn find<T: Clone, const N: usize>(rows: &Rows<T, N>, hash: u64, values: [&str; N]) -> Option<T> {
    let same = |names: &[Box<str>; N]| names.iter().zip(values).all(|(name, value)| **name == *value);
    rows.get(&hash)?.iter().find(|(names, _)| same(names)).map(|(_, series)| series.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_are_exact_and_short() {
        for (nanos, text) in [(0, "0"), (20_000, "0.00002"), (1_500_000_000, "1.5"), (60_000_000_000, "60")] {
            assert_eq!(seconds(nanos), text);
        }
    }

    #[test]
    fn labels_beyond_the_bound_share_one_series() {
        let family = Family::<Counter, 1>::new(Counter::default);
        for caller in 0..MAX_SERIES + 500 {
            family.with([&format!("caller-{caller}")]).inc();
        }
        assert_eq!(family.with(["overflow"]).get(), 500);
        assert_eq!(family.rows.read().0, MAX_SERIES + 1);
    }

    proptest! {
        #[test]
        fn a_histogram_counts_like_a_list_of_all_observations(
            bounds in prop::collection::btree_set(1_u64..1_000_000, 1..12),
            observed in prop::collection::vec(0_u64..2_000_000, 0..60),
        ) {
            let bounds: Vec<u64> = bounds.into_iter().collect();
            let histogram = Histogram::new(&bounds);
            for micros in &observed {
                histogram.observe(Duration::from_micros(*micros));
            }
            let mut text = String::new();
            histogram.write(&mut text, "h", "");
            for bound in &bounds {
                let at_most = observed.iter().filter(|micros| *micros <= bound).count();
                let line = format!("h_bucket{{le=\"{}\"}} {at_most}\n", seconds(bound * 1000));
                prop_assert!(text.contains(&line), "{line}\n{text}");
            }
            let sum = seconds(observed.iter().sum::<u64>() * 1000);
            let ends = format!("h_sum {sum}\nh_count {}\n", observed.len());
            prop_assert!(text.ends_with(&ends), "{}\n{}", ends, text);
        }
    }
}
