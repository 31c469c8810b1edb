//! Suspicion over several turns: who has sent suspicious messages lately is believed less when the next one comes. What
//! counts fades by half every half-life.
//!
//! Invariants: only suspicious messages are ever told here, so that quiet ones cost nothing; a score is raised or stays
//! as it is, never lowered; memory is bounded, who was suspicious longest ago is forgotten first. Pure: time is passed in.
//! Source: inspect.md section 2.4.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// Suspicion by caller.
#[derive(Debug)]
pub struct Turns {
    half_life: Duration,
    most: usize,
    seen: HashMap<u64, Heat>,
    /// The same by when it was last told, for forgetting.
    order: BTreeSet<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Heat {
    sum: f32,
    at: Duration,
}

impl Turns {
    /// For so many callers.
    #[must_use]
    pub fn new(half_life: Duration, most: usize) -> Self {
        Self { half_life, most: most.max(1), seen: HashMap::new(), order: BTreeSet::new() }
    }

    /// What the score of a suspicious message comes to after what its caller (any digest of its name) sent before.
    /// `now` only grows.
    pub fn raise(&mut self, caller: u64, score: f32, now: Duration) -> f32 {
        let before = self.seen.get(&caller).copied();
        let heat = before.map_or(0.0, |heat| heat.sum * self.fading(now.saturating_sub(heat.at)));
        if let Some(before) = before {
            self.order.remove(&(before.at, caller));
        } else if self.seen.len() >= self.most
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.seen.remove(&oldest);
        }
        self.seen.insert(caller, Heat { sum: heat + score, at: now });
        self.order.insert((now, caller));
        // What is missing to certainty is halved by each message that was certain itself.
        score.max((1.0 - score).mul_add(-(-heat).exp2(), 1.0))
    }

    /// Callers that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn fading(&self, time: Duration) -> f32 {
        (-time.as_secs_f32() / self.half_life.as_secs_f32().max(f32::MIN_POSITIVE)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF_LIFE: Duration = Duration::from_secs(600);

    #[test]
    fn suspicious_turns_in_a_row_come_to_a_block_and_fade_with_time() {
        let mut turns = Turns::new(HALF_LIFE, 10);
        let at = Duration::from_secs;
        let scores: Vec<f32> = (0..7).map(|turn| turns.raise(1, 0.5, at(turn))).collect();
        assert!((scores[0] - 0.5).abs() < 1e-6, "the first one is believed: {scores:?}");
        assert!(scores.windows(2).all(|pair| pair[0] < pair[1]), "{scores:?}");
        assert!(scores[3] < 0.9 && scores[6] > 0.9, "{scores:?}");
        assert!((turns.raise(2, 0.5, at(8)) - 0.5).abs() < 1e-6, "another caller is another");
        assert!(turns.raise(1, 0.5, at(8 + 6000)) < 0.51, "ten half-lives later it is forgotten");
    }

    #[test]
    fn who_was_suspicious_longest_ago_is_forgotten_first() {
        let mut turns = Turns::new(HALF_LIFE, 2);
        let at = Duration::from_secs;
        for (caller, second) in [(1, 1), (2, 2), (1, 3), (3, 4)] {
            turns.raise(caller, 0.8, at(second));
        }
        assert_eq!(turns.len(), 2);
        assert!(turns.raise(1, 0.5, at(5)) > 0.5 && turns.raise(2, 0.5, at(6)) <= 0.5);
    }

    proptest! {
        #[test]
        fn a_score_is_never_lowered_and_memory_is_bounded(
            told in prop::collection::vec((0_u64..9, 0.0_f32..=1.0, 0_u64..900), 0..60),
        ) {
            let (mut turns, mut now) = (Turns::new(HALF_LIFE, 4), Duration::ZERO);
            for (caller, score, later) in told {
                now += Duration::from_secs(later);
                let raised = turns.raise(caller, score, now);
                prop_assert!(raised >= score && raised <= 1.0);
                prop_assert!(turns.len() <= 4 && turns.order.len() == turns.seen.len());
            }
        }
    }
}
