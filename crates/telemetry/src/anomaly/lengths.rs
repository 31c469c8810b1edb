//! Median and MAD of the lengths of one caller's last messages, in 102 bytes.
//!
//! A histogram of log2(length + 1) with buckets of a fifth of an octave: the log-bucketed quantile sketch of Masson, Rim
//! and Lee (`DDSketch`, VLDB 2019), whose quantiles are off by at most half a bucket, whatever the distribution. Old
//! messages fade: all counts are halved when 1,000 are held or one bucket is full, so that the newest 500 to 1,000
//! count, fewer where most have one length, and recent ones never less than older ones.
//!
//! Error, in buckets: median 1/2, MAD 1. `z` takes both against the alarm, so what it says is never more than the exact
//! value over what the histogram holds (property test): the sketch costs detections near the threshold, never false
//! alarms.

/// Buckets; the last one holds everything from 2^20 characters on.
const BUCKETS: usize = 100;
/// Buckets of one octave.
pub(super) const PER_OCTAVE: f32 = 5.0;
/// Messages held before old ones fade.
const HELD: u16 = 1_000;
/// From the MAD to the standard deviation of a normal distribution.
const NORMAL: f32 = 1.4826;

#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    counts: [u8; BUCKETS],
    total: u16,
}

/// Where a length lies, in buckets.
pub(super) fn place(length: u32) -> f32 {
    (length as f32 + 1.0).log2() * PER_OCTAVE
}

fn bucket(place: f32) -> usize {
    (place as usize).min(BUCKETS - 1)
}

impl Lengths {
    pub(super) const fn new() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }

    /// How many messages are held.
    pub(super) const fn total(&self) -> u16 {
        self.total
    }

    pub(super) fn add(&mut self, length: u32) {
        let count = &mut self.counts[bucket(place(length))];
        *count += 1;
        let full = *count == u8::MAX;
        self.total += 1;
        if full || self.total == HELD {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().copied().map(u16::from).sum();
        }
    }

    /// The bucket that holds the (lower) median.
    fn median(&self) -> usize {
        let mut sum = 0;
        self.counts
            .iter()
            .position(|count| {
                sum += 2 * u32::from(*count);
                sum >= u32::from(self.total)
            })
            .unwrap_or_default()
    }

    /// The (lower) median of the distances from that bucket, in buckets.
    fn spread(&self, median: usize) -> usize {
        let mut sum = 0;
        (0..BUCKETS)
            .find(|far| {
                let low = median.checked_sub(*far).map_or(0, |at| self.counts[at]);
                let high = if *far == 0 { 0 } else { self.counts.get(median + far).copied().unwrap_or(0) };
                sum += 2 * (u32::from(low) + u32::from(high));
                sum >= u32::from(self.total)
            })
            .unwrap_or_default()
    }

    /// How far a length is from the median, in robust standard deviations: at most the exact value.
    pub(super) fn z(&self, length: u32) -> f32 {
        let median = self.median();
        let far = (place(length).min(BUCKETS as f32) - (median as f32 + 0.5)).abs() - 0.5;
        far.max(0.0) / (NORMAL * (self.spread(median) + 1) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lower_median(mut values: Vec<f32>) -> f32 {
        values.sort_by(f32::total_cmp);
        values[(values.len() - 1) / 2]
    }

    /// Median and MAD, exactly, in buckets.
    fn exact(lengths: &[u32]) -> (f32, f32) {
        let places: Vec<f32> = lengths.iter().map(|length| place(*length)).collect();
        let median = lower_median(places.clone());
        (median, lower_median(places.iter().map(|place| (place - median).abs()).collect()))
    }

    fn sketch(lengths: &[u32]) -> Lengths {
        let mut sketch = Lengths::new();
        lengths.iter().for_each(|length| sketch.add(*length));
        sketch
    }

    proptest! {
        // Fewer than fill a bucket: nothing fades, so that both hold the same messages.
        #[test]
        fn median_and_mad_are_within_their_bounds_and_z_is_never_more_than_the_exact_one(
            lengths in prop::collection::vec(prop_oneof![0_u32..50, 0_u32..4_000, 0_u32..1_000_000], 10..250),
            length in 0_u32..1_000_000,
        ) {
            let (held, (median, mad)) = (sketch(&lengths), exact(&lengths));
            let at = held.median();
            prop_assert!((at as f32 + 0.5 - median).abs() <= 0.501, "{at} {median}");
            prop_assert!((held.spread(at) as f32 - mad).abs() <= 1.001, "{} {mad}", held.spread(at));
            let exact = (place(length) - median).abs() / (NORMAL * mad);
            prop_assert!(exact.is_nan() || held.z(length) <= exact + 0.001, "{} {exact}", held.z(length));
        }

        // With fading, against the exact values of the last 1,000 of a long steady trace.
        #[test]
        fn over_a_long_trace_both_stay_near_those_of_the_last_thousand(
            seed in any::<u64>(), centre in 3.0_f32..12.0, width in 0.3_f32..1.5,
        ) {
            let mut random = super::super::tests::Random(seed);
            let lengths: Vec<u32> = (0..5_000).map(|_| random.log_normal(centre, width)).collect();
            let (held, (median, mad)) = (sketch(&lengths), exact(&lengths[4_000..]));
            let at = held.median();
            // The bound of the sketch, and what two samples of one distribution differ by.
            let chance = 0.5 * width * PER_OCTAVE;
            prop_assert!((at as f32 + 0.5 - median).abs() <= 0.5 + chance, "{at} {median}");
            prop_assert!((held.spread(at) as f32 - mad).abs() <= 1.0 + chance, "{} {mad}", held.spread(at));
            prop_assert!(held.total() < HELD);
        }
    }

    #[test]
    fn one_length_alone_and_the_longest_are_held_too() {
        let held = sketch(&[500; 2_000]);
        assert!(held.z(500) < 0.5 && held.z(700) < 3.0, "twice as long is not strange yet");
        assert!(held.z(2_000) > 3.0 && held.z(50) > 3.0);
        let held = sketch(&[u32::MAX; 20]);
        assert!(held.z(u32::MAX) < 0.5 && held.z(0) > 3.0);
        assert_eq!(Lengths::new().z(0), 0.0, "nothing held, nothing said");
    }
}
