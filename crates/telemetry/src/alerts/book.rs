//! What has been told. Pure: time comes as argument.
//!
//! Rules: the first of its kind is told; the same within the cooldown is counted, not told; after the cooldown it is
//! told again with that number. An end is told once, and only when the beginning was told. What comes back within
//! the cooldown is quiet until the cooldown is over: flapping cannot flood.

use super::{Alert, Category, Status};
use std::{collections::HashMap, time::Duration};

/// Subjects remembered at once; providers and components are few.
const MAX_SUBJECTS: usize = 1_000;

struct Row {
    /// Since when it has been wrong, while it is.
    since: Option<jiff::Timestamp>,
    /// When it was last told.
    told: jiff::Timestamp,
    /// Whether the receivers believe that it is wrong.
    believed: bool,
    suppressed: u64,
}

pub(super) struct Book {
    cooldown: Duration,
    rows: HashMap<(Category, String), Row>,
}

impl Book {
    pub(super) fn new(cooldown: Duration) -> Self {
        Self { cooldown, rows: HashMap::new() }
    }

    pub(super) fn raise(
        &mut self,
        category: Category,
        subject: &str,
        message: impl Into<String>,
        now: jiff::Timestamp,
    ) -> Option<Alert> {
        let key = (category, subject.to_owned());
        let (since, suppressed) = match self.rows.get_mut(&key) {
            Some(row) => {
                let since = *row.since.get_or_insert(now);
                if now.duration_since(row.told).unsigned_abs() < self.cooldown {
                    row.suppressed += 1;
                    return None;
                }
                (row.told, row.believed) = (now, true);
                (since, std::mem::take(&mut row.suppressed))
            }
            None => {
                self.make_room();
                self.rows.insert(key, Row { since: Some(now), told: now, believed: true, suppressed: 0 });
                (now, 0)
            }
        };
        let (subject, message) = (subject.to_owned(), message.into());
        Some(Alert { status: Status::Firing, category, subject, message, suppressed, since, at: now })
    }

    pub(super) fn resolve(
        &mut self,
        category: Category,
        subject: &str,
        message: impl Into<String>,
        now: jiff::Timestamp,
    ) -> Option<Alert> {
        let row = self.rows.get_mut(&(category, subject.to_owned()))?;
        let since = row.since.take()?;
        if !std::mem::replace(&mut row.believed, false) {
            return None;
        }
        let (subject, message, suppressed) = (subject.to_owned(), message.into(), row.suppressed);
        Some(Alert { status: Status::Resolved, category, subject, message, suppressed, since, at: now })
    }

    /// Forgets what was told longest ago, rather what is over than what is not.
    fn make_room(&mut self) {
        if self.rows.len() < MAX_SUBJECTS {
            return;
        }
        let oldest = self.rows.iter().min_by_key(|(_, row)| (row.since.is_some(), row.told));
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.rows.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}
