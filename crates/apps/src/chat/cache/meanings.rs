//! Questions remembered by their meaning, for the semantic cache. Invariants: a question is only compared with those of
//! the same surroundings (scope, route, instructions, earlier turns, tools, parameters); the number remembered is
//! bounded, the oldest go first; close is not enough (`differs`).

use super::{differs::differ, key::Key};
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::time::Instant;

/// One question.
struct Question {
    around: Key,
    text: Box<str>,
    /// Of unit length.
    vector: Box<[f32]>,
    /// Where its answer is kept.
    answer: Key,
    until: Instant,
}

/// All of them.
#[derive(Default)]
pub(super) struct Meanings(Mutex<VecDeque<Question>>);

impl Meanings {
    /// Where the answer to a question that means the same is kept: the closest one.
    pub(super) fn find(
        &self,
        around: &Key,
        text: &str,
        vector: &[f32],
        least: f64,
        now: Instant,
    ) -> Option<Key> {
        let questions = self.0.lock();
        questions
            .iter()
            .filter(|known| known.around == *around && known.until > now)
            .map(|known| (closeness(&known.vector, vector), known))
            .filter(|(close, known)| *close >= least && !differ(&known.text, text))
            .max_by(|one, other| one.0.total_cmp(&other.0))
            .map(|(_, known)| known.answer)
    }

    /// Remembers a question whose answer is kept.
    pub(super) fn add(
        &self,
        around: Key,
        text: &str,
        vector: Vec<f32>,
        answer: Key,
        until: Instant,
        most: usize,
    ) {
        let mut questions = self.0.lock();
        questions.retain(|known| known.answer != answer);
        while questions.len() >= most.max(1) {
            questions.pop_front();
        }
        questions.push_back(Question { around, text: text.into(), vector: vector.into(), answer, until });
    }
}

/// Cosine of two vectors of unit length.
fn closeness(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() {
        return 0.0;
    }
    one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
