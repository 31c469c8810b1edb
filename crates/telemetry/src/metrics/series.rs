//! Counters, gauges and histograms, and their families by label.
//!
//! Why our own: required names (`rate_limit_breaches`) must be exported exactly as they are and untyped, every
//! metric must be there from the first scrape on, and a measurement must cost tens of nanoseconds without
//! allocating. Invariants: a histogram's `_count` always equals its last bucket; a family never grows beyond
//! `MAX_SERIES`, whatever is passed as label. How they are written: `text`, `otlp`.

use super::table::Reader;
use ahash::RandomState;
use parking_lot::RwLock;
use std::{
    collections::HashMap,
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

    /// Upper bounds in nanoseconds, rising, and how many observations lie in each bucket, of which there is one more.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.0.bounds.iter().map(|bound| Some(*bound)).chain([None]);
        bounds.zip(self.0.counts.iter().map(|count| count.load(Relaxed)))
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.0.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// All observations together, in nanoseconds.
    pub(super) fn nanos(&self) -> u64 {
        self.0.nanos.load(Relaxed)
    }
}

/// What can stand behind one combination of labels.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    /// A gauge kept in millionths.
    Millionths(Gauge),
    Histogram(Histogram),
    /// A number that is read when it is asked for.
    Number(f64),
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

    /// Shows every series, in the order of their labels.
    pub(super) fn read(&self, names: [&'static str; N], reader: &mut dyn Reader, cell: impl Fn(T) -> Cell) {
        let mut rows: Vec<_> = self.rows.read().1.values().flatten().cloned().collect();
        rows.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (values, series) in rows {
            let labels: [(&'static str, &str); N] = std::array::from_fn(|at| (names[at], &*values[at]));
            reader.series(&labels, &cell(series));
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

    #[test]
    fn labels_beyond_the_bound_share_one_series() {
        let family = Family::<Counter, 1>::new(Counter::default);
        for caller in 0..MAX_SERIES + 500 {
            family.with([&format!("caller-{caller}")]).inc();
        }
        assert_eq!(family.with(["overflow"]).get(), 500);
        assert_eq!(family.rows.read().0, MAX_SERIES + 1);
    }
}
