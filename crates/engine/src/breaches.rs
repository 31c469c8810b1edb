//! Refusals by limits, told without flooding: each one counts in the metric; a caller has at most one log line a
//! second and one audit record a minute, with the number that was suppressed in between. Bounded: beyond
//! `MAX_CALLERS` remembered callers the oldest silent ones are forgotten. Source: S1-06, tools.md 4.2.
//!
//! Log line format: `level=WARN event=rate_limit_breach door scope tier action caller limit retry_after_ms suppressed
//! request_id`, where the limit is `requests/seconds`: `10/60s`.

use crate::{pipeline::Inner, record::Record};
use parking_lot::Mutex;
use portcullis_domain::{Action, Caller, Door, LimitScope, LimitView, RequestId, Tier, TraceId};
use portcullis_resilience::limits::Refusal;
use portcullis_telemetry::{Audit, AuditEvent};
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
    /// What the caller was refused last, for the record that comes later.
    last: Last,
}

/// One refusal, as a record of several names it.
#[derive(Clone, Debug)]
struct Last {
    door: Door,
    action: Action,
    tier: Tier,
    scope: LimitScope,
    id: RequestId,
    trace: Option<TraceId>,
}

/// What is to be written about one refusal.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tell {
    /// Log it, with this many suppressed before.
    log: Option<u64>,
    /// Audit it, with this many refusals since the last record, this one included.
    audit: Option<u64>,
}

/// What was told to whom.
pub struct Breaches {
    told: Mutex<HashMap<Arc<str>, Told>>,
    audit: Audit,
}

impl Breaches {
    pub(crate) fn new(audit: Audit) -> Self {
        Self { told: Mutex::new(HashMap::new()), audit }
    }

    fn tell(&self, caller: &Arc<str>, last: Last, now: Instant) -> Tell {
        let mut told = self.told.lock();
        if let Some(row) = told.get_mut(caller) {
            row.last = last;
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
            told.retain(|_, row| {
                row.since_audit > 0 || now.saturating_duration_since(row.logged) < AUDIT_EVERY
            });
        }
        if told.len() < MAX_CALLERS {
            let row = Told { logged: now, suppressed: 0, audited: now, since_audit: 0, last };
            told.insert(caller.clone(), row);
        }
        Tell { log: Some(0), audit: Some(1) }
    }

    /// Counts and tells one refusal.
    pub(crate) fn note(
        &self,
        engine: &Inner,
        record: &Record,
        caller: &Caller,
        (refusal, views): (Refusal, &[LimitView]),
    ) {
        let scope = refusal.scope;
        let (action, id) = (record.action(), record.id());
        engine.metrics.rate_limit_breach(scope, &caller.tier, action);
        let last = Last {
            door: record.door(),
            action,
            tier: caller.tier.clone(),
            scope,
            id,
            trace: record.trace_id(),
        };
        let tell = self.tell(&caller.id, last.clone(), Instant::now());
        if let Some(suppressed) = tell.log {
            // A level may have several windows: the one that is used up and lasts longest.
            let own = views.iter().filter(|view| view.scope == scope);
            let limit = own.max_by_key(|view| (view.remaining == 0, view.reset_secs));
            let limit = limit.map(|view| format!("{}/{}s", view.quota, view.window_secs));
            tracing::warn!(
                event = "rate_limit_breach",
                door = record.door().as_str(),
                scope = scope.as_str(),
                tier = caller.tier.as_str(),
                action = action.as_str(),
                caller = &*caller.id,
                limit,
                retry_after_ms = u64::try_from(refusal.retry_after.as_millis()).unwrap_or(u64::MAX),
                suppressed,
                request_id = id.as_str(),
                "rate limit breach"
            );
        }
        if let Some(count) = tell.audit {
            self.prove(caller.id.clone(), last, count);
        }
    }

    /// Proves the refusals of callers who have been quiet since: those of a minute that is over, or all.
    pub fn settle(&self, all: bool) {
        let now = Instant::now();
        for (caller, last, count) in self.late(now, all) {
            self.prove(caller, last, count);
        }
    }

    fn late(&self, now: Instant, all: bool) -> Vec<(Arc<str>, Last, u64)> {
        let mut told = self.told.lock();
        let due = told.iter_mut().filter(|(_, row)| {
            row.since_audit > 0 && (all || now.saturating_duration_since(row.audited) >= AUDIT_EVERY)
        });
        let late = due.map(|(caller, row)| {
            row.audited = now;
            (caller.clone(), row.last.clone(), std::mem::take(&mut row.since_audit))
        });
        late.collect()
    }

    fn prove(&self, caller: Arc<str>, last: Last, count: u64) {
        self.audit.record(AuditEvent {
            action: Some(last.action),
            caller: Some(caller),
            tier: Some(last.tier),
            request_id: Some(last.id),
            trace_id: last.trace,
            details: vec![("scope", last.scope.as_str().to_owned()), ("count", count.to_string())],
            ..AuditEvent::new("limit_breach", last.door, "refused")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_telemetry::{Alerts, AuditConfig, AuditParts, Metrics};

    fn breaches(folder: &std::path::Path) -> Breaches {
        let parts = AuditParts {
            config: &AuditConfig::default(),
            folder: &folder.join("audit"),
            id_key: b"key",
            sign_key: b"sign key",
            redact: |text| text.into(),
            metrics: Metrics::new(),
            alerts: Alerts::silent(),
        };
        Breaches::new(Audit::start(parts).unwrap())
    }

    fn last() -> Last {
        let (door, action, scope) = (Door::Http, Action::Chat, LimitScope::User);
        Last { door, action, tier: Tier::Anonymous, scope, id: crate::ids::request(), trace: None }
    }

    // req: S1-06
    #[tokio::test(start_paused = true)]
    async fn a_flood_is_told_once_a_second_and_proved_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let (breaches, caller) = (breaches(folder.path()), Arc::from("key:a"));
        let start = Instant::now();
        assert_eq!(breaches.tell(&caller, last(), start), Tell { log: Some(0), audit: Some(1) });
        for _ in 0..9 {
            assert_eq!(breaches.tell(&caller, last(), start), Tell::default());
        }
        let second = start + Duration::from_secs(1);
        assert_eq!(breaches.tell(&caller, last(), second), Tell { log: Some(9), audit: None });
        let minute = start + Duration::from_secs(60);
        assert_eq!(breaches.tell(&caller, last(), minute), Tell { log: Some(0), audit: Some(11) });
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_flood_that_stopped_left_unproved_is_proved_a_minute_later_or_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (breaches, caller, start) = (breaches(folder.path()), Arc::from("key:a"), Instant::now());
        for _ in 0..8 {
            breaches.tell(&caller, last(), start);
        }
        let counts = |now, all| breaches.late(now, all).into_iter().map(|late| late.2).collect::<Vec<_>>();
        assert_eq!(counts(start + Duration::from_secs(59), false), [0; 0]);
        assert_eq!(counts(start + Duration::from_secs(60), false), [7]);
        assert_eq!(counts(start + Duration::from_secs(200), true), [0; 0], "once");
        breaches.tell(&caller, last(), start + Duration::from_secs(61));
        assert_eq!(counts(start + Duration::from_secs(62), true), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_whoever_floods() {
        let folder = tempfile::tempdir().unwrap();
        let breaches = breaches(folder.path());
        for index in 0..MAX_CALLERS + 100 {
            breaches.tell(&format!("ip:{index}").into(), last(), Instant::now());
        }
        assert_eq!(breaches.told.lock().len(), MAX_CALLERS);
    }
}
