//! What people were told, so that they are told once: who waits for a limit hears of it when it refuses, not at each try.
//! Invariant: bounded; where too much is remembered, what is over is forgotten. Source: news.md section 13, S0-10.

use parking_lot::Mutex;
use std::collections::HashMap;
use tokio::time::Instant;

/// Notices remembered before those that are over are forgotten.
const REMEMBERED: usize = 10_000;

/// Whom what was told, and until when it is not told again.
#[derive(Debug, Default)]
pub struct Notices(Mutex<HashMap<(String, &'static str), Instant>>);

impl Notices {
    /// Whether something is told now; then not again until that moment.
    pub fn tell(&self, whom: &str, what: &'static str, until: Instant) -> bool {
        let (now, mut told) = (Instant::now(), self.0.lock());
        if told.len() >= REMEMBERED {
            told.retain(|_, until| *until > now);
        }
        let last = told.entry((whom.to_owned(), what)).or_insert(now);
        if *last > now {
            return false;
        }
        *last = until;
        true
    }
}
