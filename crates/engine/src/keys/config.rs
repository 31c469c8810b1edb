//! `[auth.keys]`: bounds of what is kept in memory about API keys.

use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[auth.keys]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// How often the store is asked what other replicas changed, in seconds, 1 to 10: a key revoked there is accepted
    /// here at most this long (with Redis: a second). Default 5.
    pub poll_secs: u64,
    /// Keys kept in memory; others are read from the store when they are used. Default 100000.
    pub cached_keys: usize,
    /// How long an id that nobody has is refused without asking the store, in seconds. Default 5.
    pub unknown_secs: u64,
    /// Such ids remembered. Default 10000.
    pub unknown_keys: usize,
    /// Ids looked up in the store at the same time. Default 16.
    pub lookups: usize,
    /// Longest wait for such a place, in milliseconds. Default 1000.
    pub lookup_wait_ms: u64,
    /// Revoked tokens and subjects remembered; more are refused with an error at `portcullis token revoke`.
    /// Default 100000.
    pub revocations: usize,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            poll_secs: 5,
            cached_keys: 100_000,
            unknown_secs: 5,
            unknown_keys: 10_000,
            lookups: 16,
            lookup_wait_ms: 1000,
            revocations: 100_000,
        }
    }
}

impl KeysConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("poll_secs", self.poll_secs, 1, 10),
            ("cached_keys", self.cached_keys as u64, 100, 10_000_000),
            ("unknown_secs", self.unknown_secs, 0, 60),
            ("unknown_keys", self.unknown_keys as u64, 0, 1_000_000),
            ("lookups", self.lookups as u64, 1, 1000),
            ("lookup_wait_ms", self.lookup_wait_ms, 1, 60_000),
            ("revocations", self.revocations as u64, 100, 10_000_000),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("is {value}; it must be from {least} to {most}");
                out.push(Problem::new(
                    format!("{prefix}.{key}"),
                    message,
                    "leave the key out for its default",
                ));
            }
        }
    }
}
