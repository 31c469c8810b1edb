//! Telling: metric, log line, audit record, alert, and the list that operators look at. Invariant: nothing here is on
//! the way of a message that fits.

use super::{AnomalyConfig, Found, Kind, Seen, Watch};
use crate::{Alerts, Audit, AuditEvent, Metrics, alerts::Category};
use parking_lot::Mutex;
use portcullis_domain::{Action, Door, RequestId, Tier};
use std::{collections::VecDeque, sync::Arc};

/// Anomalies kept for the list.
const KEPT: usize = 500;
const HOUR_SECS: i64 = 3_600;

/// One anomaly, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strange {
    /// When.
    pub at: jiff::Timestamp,
    /// In what the message did not fit.
    pub kind: &'static str,
    /// Whose it was, as the audit trail calls them.
    pub caller: String,
    /// At which service level.
    pub tier: String,
    /// How it ended.
    pub outcome: &'static str,
    /// In which request.
    pub request_id: String,
    /// Further facts: `z`, `rate`, `hour`, `refusals`.
    pub details: Vec<(&'static str, String)>,
}

/// Whose message it was, for telling.
#[derive(Clone, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) caller: &'a Arc<str>,
    pub(crate) tier: &'a Tier,
    pub(crate) door: Door,
    pub(crate) action: Action,
    pub(crate) outcome: &'static str,
    pub(crate) id: RequestId,
}

#[derive(Default)]
struct Book {
    kept: VecDeque<Strange>,
    /// When the last ones were, in seconds; at most one more than an alert needs.
    lately: VecDeque<i64>,
    /// The minute in which records are counted, and how many there were and were not written.
    minute: i64,
    written: u32,
    unwritten: u64,
}

struct Inner {
    watch: Option<Watch>,
    alert_per_hour: usize,
    records_per_min: u32,
    refusals: u8,
    book: Mutex<Book>,
    audit: Audit,
    alerts: Alerts,
    metrics: Metrics,
}

/// What does not fit its caller. Cheap to clone.
#[derive(Clone)]
pub struct Anomalies(Arc<Inner>);

impl std::fmt::Debug for Anomalies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Anomalies")
    }
}

impl Anomalies {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(config: &AnomalyConfig, audit: Audit, alerts: Alerts, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            watch: config.enabled.then(|| Watch::new(config)),
            alert_per_hour: config.alert_per_hour,
            records_per_min: config.records_per_min,
            refusals: config.refusals,
            book: Mutex::default(),
            audit,
            alerts,
            metrics,
        }))
    }

    /// Takes in a request that has ended: one hash and one short lock, no allocation for a caller that is known. What
    /// did not fit is to be told by [`Anomalies::tell`].
    #[must_use]
    pub fn observe(&self, seen: &Seen<'_>) -> Option<Found> {
        let watch = self.0.watch.as_ref()?;
        let found = watch.observe(seen, jiff::Timestamp::now().as_second());
        (!found.is_quiet()).then_some(found)
    }

    /// Tells what did not fit, and of somebody's first message that somebody is there.
    pub fn tell(
        &self,
        found: Found,
        (caller, tier): (&Arc<str>, &Tier),
        (door, action): (Door, Action),
        outcome: &'static str,
        id: RequestId,
    ) {
        let whose = Whose { caller, tier, door, action, outcome, id };
        // Who is known by an address only has not signed in.
        if found.first && !caller.starts_with("ip:") {
            self.0.audit.record(AuditEvent {
                action: Some(action),
                caller: Some(caller.clone()),
                tier: Some(tier.clone()),
                request_id: Some(id),
                ..AuditEvent::new("sign_in", door, outcome)
            });
        }
        let now = jiff::Timestamp::now();
        for kind in found.kinds() {
            self.tell_one(kind, found, &whose, now);
        }
    }

    fn tell_one(&self, kind: Kind, found: Found, whose: &Whose<'_>, now: jiff::Timestamp) {
        let Whose { caller, tier, door, action, outcome, id } = whose.clone();
        let inner = &*self.0;
        inner.metrics.anomaly(kind.as_str());
        let mut details = match kind {
            Kind::Length => vec![("z", format!("{:.1}", found.z))],
            Kind::Burst => vec![("rate", found.rate.to_string())],
            Kind::Hours => vec![("hour", found.hour.to_string())],
            Kind::Refusals => vec![("refusals", inner.refusals.to_string())],
            Kind::Network => vec![],
        };
        tracing::warn!(request_id = %id, kind = kind.as_str(), caller = &**caller, z = found.z, rate = found.rate,
            hour = found.hour, "anomaly");
        let strange = Strange {
            at: now,
            kind: kind.as_str(),
            caller: inner.audit.pseudonym(caller),
            tier: tier.as_str().to_owned(),
            outcome,
            request_id: id.as_str().to_owned(),
            details: details.clone(),
        };
        let (lately, unwritten) =
            inner.book.lock().note(strange, inner.alert_per_hour, inner.records_per_min);
        if let Some(unwritten) = unwritten {
            if unwritten > 0 {
                details.push(("unwritten_before", unwritten.to_string()));
            }
            inner.audit.record(AuditEvent {
                action: Some(action),
                caller: Some(caller.clone()),
                tier: Some(tier.clone()),
                request_id: Some(id),
                details,
                ..AuditEvent::new("anomaly", door, kind.as_str())
            });
        }
        if lately > inner.alert_per_hour {
            let words = format!(
                "more than {} anomalies within an hour; `portcullis anomalies` lists them",
                inner.alert_per_hour
            );
            inner.alerts.raise(Category::Anomalies, "anomalies", words);
        } else {
            inner.alerts.resolve(Category::Anomalies, "anomalies", "anomalies are as rare as usual again");
        }
    }

    /// The last anomalies, newest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Strange> {
        self.0.book.lock().kept.iter().rev().take(count).cloned().collect()
    }

    /// Callers whose habits are held, and the bytes they take.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.0.watch.as_ref().map_or((0, 0), |watch| watch.table.size())
    }
}

impl Book {
    /// How many there were within an hour, and, when this one may be written, how many were not before it.
    fn note(
        &mut self,
        strange: Strange,
        alert_per_hour: usize,
        records_per_min: u32,
    ) -> (usize, Option<u64>) {
        let now = strange.at.as_second();
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(strange);
        self.lately.push_back(now);
        while self.lately.len() > alert_per_hour + 1
            || self.lately.front().is_some_and(|at| now - at > HOUR_SECS)
        {
            self.lately.pop_front();
        }
        if now / 60 != self.minute {
            (self.minute, self.written) = (now / 60, 0);
        }
        if self.written >= records_per_min {
            self.unwritten += 1;
            return (self.lately.len(), None);
        }
        self.written += 1;
        (self.lately.len(), Some(std::mem::take(&mut self.unwritten)))
    }
}
