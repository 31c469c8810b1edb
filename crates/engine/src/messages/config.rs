//! `[messages]`: bounds of what chat doors take in and send out.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[messages]`: bounds of what chat doors take in and send out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MessagesConfig {
    /// Conversations of one door that are answered at once; further ones wait. Default 64.
    pub conversations: u32,
    /// Messages of one conversation that may wait; a further one is told to be sent again. Default 20.
    pub waiting: u32,
    /// How long one worker may keep a message or an answer to itself, in seconds; after a crash others wait so long.
    /// Default 120.
    pub lease_secs: u64,
    /// Of several replicas over one database one works for the Telegram door; how long nothing is heard of it before
    /// another takes over, in seconds. What was being sent then may be sent twice. Default 30.
    pub take_over_secs: u64,
    /// How often a message is begun that ended the process or found no store; then its sender is told that it failed.
    /// Default 3.
    pub attempts: u32,
    /// How long a message is known as seen, in days, so that it is not answered again. Default 30.
    pub known_days: u32,
    /// Answers being sent at once. Default 8.
    pub sending: u32,
    /// Shortest and longest pause before an answer that could not be sent is tried again, in seconds. Default 1 and 60.
    pub retry_secs: [u64; 2],
    /// Tries of an answer that failed; then it is dead, and listed for an operator. Default 8.
    pub tries: u32,
    /// How long an answer is worth sending, in hours. Default 24.
    pub expire_hours: u64,
    /// How long answers that could not be delivered are kept to be looked at and sent again, in days. Default 7.
    pub dead_days: u32,
    /// Answers waiting to be sent, at most; from there on nothing scheduled is taken. Default 100000.
    pub max_rows: u32,
    /// Answers to questions that are taken beyond `max_rows`. Default 10000.
    pub reserve_rows: u32,
    /// Messages that wait at one door for their senders to say that they are meant (`policies.<name>.flagged =
    /// "confirm"`); of more the oldest is forgotten. Default 1000.
    pub unconfirmed: u32,
}

impl Default for MessagesConfig {
    fn default() -> Self {
        Self {
            conversations: 64,
            waiting: 20,
            lease_secs: 120,
            take_over_secs: 30,
            attempts: 3,
            known_days: 30,
            sending: 8,
            retry_secs: [1, 60],
            tries: 8,
            expire_hours: 24,
            dead_days: 7,
            max_rows: 100_000,
            reserve_rows: 10_000,
            unconfirmed: 1000,
        }
    }
}

impl MessagesConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        let rows = [
            ("conversations", u64::from(self.conversations), 1, 10_000),
            ("waiting", u64::from(self.waiting), 1, 10_000),
            ("lease_secs", self.lease_secs, 10, 3600),
            ("take_over_secs", self.take_over_secs, 3, 3600),
            ("attempts", u64::from(self.attempts), 1, 100),
            ("known_days", u64::from(self.known_days), 1, 3650),
            ("sending", u64::from(self.sending), 1, 1000),
            ("retry_secs[0]", self.retry_secs[0], 1, 3600),
            ("retry_secs[1]", self.retry_secs[1], self.retry_secs[0], 86_400),
            ("tries", u64::from(self.tries), 1, 1000),
            ("expire_hours", self.expire_hours, 1, 720),
            ("dead_days", u64::from(self.dead_days), 1, 3650),
            ("max_rows", u64::from(self.max_rows), 1, 100_000_000),
            ("reserve_rows", u64::from(self.reserve_rows), 1, 100_000_000),
            ("unconfirmed", u64::from(self.unconfirmed), 1, 1_000_000),
        ];
        for (key, value, least, most) in rows {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range");
                out.push(Problem::new(
                    format!("{prefix}.{key}"),
                    message,
                    format!("choose {least} to {most}"),
                ));
            }
        }
    }

    /// Rows of the outbox for everything, and beyond for replies.
    #[must_use]
    pub const fn rows(&self) -> [u32; 2] {
        [self.max_rows, self.reserve_rows]
    }
}
