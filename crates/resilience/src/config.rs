//! Settings of the way out that all guarded dependencies share. What differs from one dependency to the next (places,
//! limits a minute, failures, reset) is said where it is configured: for providers in `[providers.<name>]`.

use crate::{breaker::RatePolicy, retry::RetryPolicy};
use portcullis_domain::Problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How calls out are retried, paced and broken off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GuardConfig {
    /// Most attempts of one call, the first included, over all its targets. More hide short faults and load a failing
    /// provider. Default 3.
    pub attempts: u32,
    /// Longest wait before the first retry, in milliseconds; it doubles with each one, and any part of it is taken at
    /// random. Default 500.
    pub backoff_ms: u64,
    /// Longest wait before any retry that the provider did not ask for, in milliseconds. Default 8000.
    pub backoff_max_ms: u64,
    /// Share of the calls of the last 10 seconds that may be retried, 0 to 1: what a provider that fails completely
    /// gets on top of its usual load. Default 0.2.
    pub retry_share: f64,
    /// Retries a second that are allowed however few calls there are. Default 1.
    pub retry_min_per_sec: u32,
    /// Longest wait to keep below a provider's requests and tokens a minute, in milliseconds; then another target is
    /// tried, or the caller is told 429. Default 5000.
    pub pace_wait_ms: u64,
    /// How far back calls count for the failure rate, in seconds. Default 30.
    pub rate_window_secs: u64,
    /// Calls in that time below which the failure rate opens no breaker. Default 20.
    pub rate_min_calls: u32,
    /// Share of failed calls in that time that opens a breaker, above 0, at most 1. Default 0.5.
    pub rate_share: f64,
    /// How often a provider that is held back (no credit, key refused, told to wait) is tried by a real call when no
    /// other target is left, in seconds. Default 30.
    pub probe_secs: u64,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff_ms: 500,
            backoff_max_ms: 8_000,
            retry_share: 0.2,
            retry_min_per_sec: 1,
            pace_wait_ms: 5_000,
            rate_window_secs: 30,
            rate_min_calls: 20,
            rate_share: 0.5,
            probe_secs: 30,
        }
    }
}

impl GuardConfig {
    /// Range checks.
    pub fn problems(&self, prefix: &str, out: &mut Vec<Problem>) {
        for (key, value, least, most) in [
            ("attempts", u64::from(self.attempts), 1, 10),
            ("backoff_ms", self.backoff_ms, 1, 60_000),
            ("backoff_max_ms", self.backoff_max_ms, self.backoff_ms, 600_000),
            ("retry_min_per_sec", u64::from(self.retry_min_per_sec), 0, 1_000),
            ("pace_wait_ms", self.pace_wait_ms, 0, 600_000),
            ("rate_window_secs", self.rate_window_secs, 1, 3_600),
            ("rate_min_calls", u64::from(self.rate_min_calls), 1, 1_000_000),
            ("probe_secs", self.probe_secs, 1, 86_400),
        ] {
            if !(least..=most).contains(&value) {
                let message = format!("{value} is out of range");
                out.push(Problem::new(
                    format!("{prefix}.{key}"),
                    message,
                    format!("choose {least} to {most}"),
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.retry_share) {
            let key = format!("{prefix}.retry_share");
            out.push(Problem::new(key, "is no share", "choose 0 to 1"));
        }
        if !(self.rate_share > 0.0 && self.rate_share <= 1.0) {
            let key = format!("{prefix}.rate_share");
            out.push(Problem::new(key, "must be above 0 and at most 1", "leave the key out for 0.5"));
        }
    }

    pub(crate) const fn rate(&self) -> RatePolicy {
        let window = Duration::from_secs(self.rate_window_secs);
        RatePolicy { window, min_calls: self.rate_min_calls, share: self.rate_share }
    }

    pub(crate) const fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            attempts: self.attempts,
            base: Duration::from_millis(self.backoff_ms),
            ceiling: Duration::from_millis(self.backoff_max_ms),
            share: self.retry_share,
            floor_per_sec: self.retry_min_per_sec,
        }
    }

    pub(crate) const fn pace_wait(&self) -> Duration {
        Duration::from_millis(self.pace_wait_ms)
    }

    pub(crate) const fn probe_every(&self) -> Duration {
        Duration::from_secs(self.probe_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_design_and_have_no_problem() {
        let config = GuardConfig::default();
        assert_eq!((config.rate(), config.retry()), (RatePolicy::default(), RetryPolicy::default()));
        assert_eq!(
            (config.pace_wait(), config.probe_every()),
            (Duration::from_secs(5), Duration::from_secs(30))
        );
        let mut out = vec![];
        config.problems("upstream.guard", &mut out);
        assert_eq!(out, []);
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let config = GuardConfig {
            attempts: 0,
            backoff_ms: 0,
            backoff_max_ms: 700_000,
            retry_share: -0.1,
            retry_min_per_sec: 5_000,
            pace_wait_ms: 700_000,
            rate_window_secs: 0,
            rate_min_calls: 0,
            rate_share: f64::NAN,
            probe_secs: 0,
        };
        let mut out = vec![];
        config.problems("upstream.guard", &mut out);
        assert_eq!(out.len(), 10, "{out:?}");
        assert!(out.iter().all(|problem| problem.key.starts_with("upstream.guard.")));
    }
}
