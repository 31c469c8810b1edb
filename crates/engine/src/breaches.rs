//! Refusals by limits, told without flooding: each one counts in the metric; a caller has at most one log line a
//! second and one audit record a minute, with the number that was suppressed in between. Bounded: beyond
//! `MAX_CALLERS` remembered callers the oldest silent ones are forgotten. Source: S1-06, tools.md 4.2.
//!
//! Log line format: `level=WARN message="rate limit breach" scope tier action caller suppressed request_id`.

use crate::{pipeline::Inner, record::Record};
use parking_lot::Mutex;
use portcullis_domain::{Caller, LimitScope};
use portcullis_telemetry::AuditEvent;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::Instant;

const LOG_EVERY: Duration = Duration::from_secs(1);
const AUDIT_EVERY: Duration = Duration::from_secs(60);
/// Callers remembered at once; about 100 bytes each.
const MAX_CALLERS: usize = 10_000;

struct Told {
    logged: Instant,
    suppressed: u64,
    audited: Instant,
    since_audit: u64,
}

/// What is to be written about one refusal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tell {
    /// Log it, with this many suppressed before.
    log: Option<u64>,
    /// Audit it, with this many refusals since the last record, this one included.
    audit: Option<u64>,
}

pub(crate) struct Breaches(Mutex<HashMap<Arc<str>, Told>>);

impl Breaches {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn tell(&self, caller: &Arc<str>, now: Instant) -> Tell {
        let mut told = self.0.lock();
        if let Some(row) = told.get_mut(caller) {
            row.since_audit += 1;
            row.suppressed += 1;
            let mut tell = Tell::default();
            if now.saturating_duration_since(row.logged) >= LOG_EVERY {
                tell.log = Some(row.suppressed - 1);
                (row.logged, row.suppressed) = (now, 0);
            }
            if now.saturating_duration_since(row.audited) >= AUDIT_EVERY {
                tell.audit = Some(row.since_audit);
                (row.audited, row.since_audit) = (now, 0);
            }
            return tell;
        }
        if told.len() >= MAX_CALLERS {
            told.retain(|_, row| now.saturating_duration_since(row.logged) < AUDIT_EVERY);
        }
        if told.len() < MAX_CALLERS {
            let row = Told { logged: now, suppressed: 0, audited: now, since_audit: 0 };
            told.insert(caller.clone(), row);
        }
        Tell { log: Some(0), audit: Some(1) }
    }

    /// Counts and tells one refusal.
    pub(crate) fn note(&self, engine: &Inner, record: &Record, caller: &Caller, scope: LimitScope) {
        let (action, id) = (record.action(), record.id());
        engine.metrics.rate_limit_breach(scope, &caller.tier, action);
        let tell = self.tell(&caller.id, Instant::now());
        if let Some(suppressed) = tell.log {
            tracing::warn!(
                scope = scope.as_str(),
                tier = caller.tier.as_str(),
                action = action.as_str(),
                caller = &*caller.id,
                suppressed,
                request_id = id.as_str(),
                "rate limit breach"
            );
        }
        if let Some(count) = tell.audit {
            engine.audit.record(AuditEvent {
                kind: "limit_breach",
                door: record.door(),
                action: Some(action),
                caller: Some(caller.id.clone()),
                tier: Some(caller.tier.clone()),
                outcome: "refused",
                request_id: Some(id),
                incident: None,
                details: vec![("scope", scope.as_str().to_owned()), ("count", count.to_string())],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // req: S1-06
    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_second_and_proved_once_a_minute() {
        let (breaches, caller) = (Breaches::new(), Arc::from("key:a"));
        let start = Instant::now();
        assert_eq!(breaches.tell(&caller, start), Tell { log: Some(0), audit: Some(1) });
        for _ in 0..9 {
            assert_eq!(breaches.tell(&caller, start), Tell::default());
        }
        let second = start + Duration::from_secs(1);
        assert_eq!(breaches.tell(&caller, second), Tell { log: Some(9), audit: None });
        let minute = start + Duration::from_secs(60);
        assert_eq!(breaches.tell(&caller, minute), Tell { log: Some(0), audit: Some(11) });
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whoever_floods() {
        let breaches = Breaches::new();
        for index in 0..MAX_CALLERS + 100 {
            breaches.tell(&format!("ip:{index}").into(), Instant::now());
        }
        assert_eq!(breaches.0.lock().len(), MAX_CALLERS);
    }
}
